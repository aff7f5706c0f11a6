"""When events go on a data channel: at once on a good link, behind the sound on a slow one."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from agent.transports.event_outbox import (
    HEADER_BYTES,
    MAX_PATIENCE,
    PATIENCE_SECONDS,
    SLOW_RATE,
    WINDOW_BYTES,
    EventOutbox,
)

TICK = 0.02
EVENT = "e" * 300
WORDS = "response.output_audio_transcript.delta"
STEP = "onebreath.denoise.step"


class Wire:
    """A link that carries bytes at a rate, and confirms them after a delay.

    Args:
        rate: bytes per second; a call with the second.
        delay: seconds until a confirmation, beside the bytes' time on the link.
    """

    def __init__(self, rate, delay=0.04):
        self.rate, self.delay = rate, delay
        self.now, self.free_at = 0.0, 0.0
        self.outbox = EventOutbox(0.0)
        self.sounding = True
        self.under_way = deque()
        self.went = []
        """Second, kind and seconds in the outbox of every event."""

    def put(self, kind=WORDS, text=EVENT):
        self.outbox.put(kind, f"{kind} {self.now} {text}")

    def tick(self):
        while self.under_way and self.under_way[0][0] <= self.now:
            self.under_way.popleft()
        unconfirmed = sum(size for _, size in self.under_way)
        for text in self.outbox.take(unconfirmed, self.sounding, self.now):
            kind, put, _ = text.split(" ")
            self.free_at = max(self.now, self.free_at) + len(text) / self.rate(self.now)
            self.under_way.append((self.free_at + self.delay, len(text)))
            self.went.append((self.now, kind, self.now - float(put)))
        self.now += TICK

    def run(self, seconds, every=None, kind=WORDS):
        """Let time pass; an event comes ``every`` seconds."""
        until, due = self.now + seconds, self.now
        while self.now < until - 1e-9:
            if every is not None and self.now >= due - 1e-9:
                self.put(kind)
                due += every
            self.tick()

    def burst(self, count, kind=WORDS):
        for _ in range(count):
            self.put(kind)


def good(now):
    return 1e6


def narrow(now):
    return 3000.0


def slow_wire():
    wire = Wire(narrow)
    wire.burst(20)
    wire.run(10.0)
    assert wire.outbox.slow
    wire.went.clear()
    return wire


def test_on_a_good_link_a_burst_goes_within_some_round_trips():
    wire = Wire(good)
    wire.burst(20)
    wire.run(2.0)
    assert [kind for _, kind, _ in wire.went] == [WORDS] * 20
    assert max(waited for _, _, waited in wire.went) < 0.5
    assert not wire.outbox.slow


def test_no_more_than_a_window_is_under_way():
    wire = Wire(narrow)
    wire.burst(20)
    wire.tick()
    assert WINDOW_BYTES <= sum(size for _, size in wire.under_way) < WINDOW_BYTES + 2 * len(EVENT)


def test_order_stays():
    wire = Wire(narrow)
    for number in range(30):
        wire.put(f"kind-{number}")
    wire.run(30.0)
    assert [kind for _, kind, _ in wire.went] == [f"kind-{number}" for number in range(30)]


def test_a_slow_link_keeps_room_for_the_sound():
    wire = slow_wire()
    began = wire.now
    wire.burst(12)
    wire.run(1.9)
    sent = sum(len(EVENT) + HEADER_BYTES for at, _, _ in wire.went if at < began + 1.9)
    assert 0.5 * 1.9 * SLOW_RATE < sent < 1.9 * SLOW_RATE + 2 * (len(EVENT) + HEADER_BYTES)


def test_a_slow_link_is_spared_what_only_decorates():
    wire = slow_wire()
    wire.burst(5, STEP)
    wire.put()
    wire.run(2.0)
    assert [kind for _, kind, _ in wire.went] == [WORDS]
    good_wire = Wire(good)
    good_wire.burst(5, STEP)
    good_wire.run(2.0)
    assert len(good_wire.went) == 5


def test_what_is_urgent_takes_all_with_it_in_order():
    wire = slow_wire()
    wire.burst(8)
    wire.put("onebreath.playback.duck")
    wire.tick()
    assert [kind for _, kind, _ in wire.went] == [*[WORDS] * 8, "onebreath.playback.duck"]
    wire.run(5.0)
    wire.burst(8)
    wire.tick()
    assert len(wire.went) < 9 + 8, "only once"


def test_while_nothing_sounds_events_get_twice_as_much():
    went = []
    for sounding in (True, False):
        wire = slow_wire()
        wire.rate = good
        wire.sounding = sounding
        wire.burst(40)
        wire.run(3.0)
        went.append(len(wire.went))
    assert 1.7 * went[0] < went[1] < 2.3 * went[0]


def test_a_slow_link_carries_the_events_of_its_calls_within_seconds():
    wire = slow_wire()
    for _ in range(10):  # turns of 8 KB in 10 s, of which the agent speaks for 6
        wire.sounding = True
        wire.burst(24)
        wire.run(6.0)
        wire.sounding = False
        wire.run(4.0)
    assert wire.outbox.waiting == 0
    assert max(waited for _, _, waited in wire.went) < 7.0


def test_a_link_that_was_slow_is_tried_again_and_later_each_time_in_vain():
    wire = Wire(lambda now: 3000.0 if now < 200.0 else 1e6)
    tried, was_slow = [], False
    while wire.now < 900.0:
        wire.burst(10)
        wire.run(5.0)
        if was_slow and not wire.outbox.slow:
            tried.append(wire.now)
        was_slow = wire.outbox.slow
    waits = [after - before for before, after in pairwise(tried)]
    assert tried[0] >= PATIENCE_SECONDS
    assert waits == sorted(waits)
    assert not wire.outbox.slow
    assert len(tried) <= 5
    assert max(waits) <= MAX_PATIENCE + 60.0


def test_far_away_is_not_slow():
    wire = Wire(good, delay=0.29)
    wire.run(2.0, every=0.3)
    wire.delay = 0.5  # late for one that is near
    wire.run(30.0, every=0.3)
    assert not wire.outbox.slow


def test_one_confirmation_that_is_late_does_not_make_a_link_slow():
    wire = Wire(good)
    for _ in range(5):
        wire.run(1.0, every=0.3)
        wire.delay = 0.4
        wire.run(0.3, every=0.3)
        wire.delay = 0.04
    assert not wire.outbox.slow


def test_a_link_that_carries_nothing_is_slow_before_it_confirms():
    wire = Wire(good)
    wire.run(1.0, every=0.3)
    wire.delay = 5.0
    wire.run(1.2, every=0.3)
    assert wire.outbox.slow


def test_a_server_that_is_late_itself_does_not_take_the_link_for_slow():
    wire = Wire(good)
    for _ in range(5):
        wire.run(0.5, every=0.1)
        wire.put()
        wire.tick()
        wire.now += 0.8
    assert not wire.outbox.slow
