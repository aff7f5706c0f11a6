"""The jitter buffer against every kind of line: pure, so that a minute takes no time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.transports.jitter_buffer import (
    HOLD_SECONDS,
    MAX_SILENCE_SECONDS,
    MAX_SURPLUS_SECONDS,
    SILENT_SECONDS,
    Gap,
    JitterBuffer,
    RtpSound,
)

RATE = 48_000
FRAME = 960
SECONDS = FRAME / RATE
TICK = 0.02


def packet(number, first_sequence=0, first_time=0, source=1, payload=b""):
    """The ``number``-th packet of a stream that begins at these values."""
    return RtpSound(
        source,
        (first_sequence + number) % 2**16,
        (first_time + number * FRAME) % 2**32,
        FRAME,
        payload or number.to_bytes(4, "big"),
    )


def numbers(pieces):
    """What left the buffer: numbers of packets, negative durations for gaps."""
    return [
        -piece.duration if isinstance(piece, Gap) else int.from_bytes(piece.payload, "big")
        for piece in pieces
    ]


def length(pieces):
    """Samples of sound that the pieces stand for."""
    return sum(p.duration if isinstance(p, Gap) else p.duration - p.skip for p in pieces)


def add_all(buffer, *order, **stream):
    return [p for i in order for p in buffer.add(packet(i, **stream), i * SECONDS)]


def test_what_is_in_order_leaves_at_once():
    buffer = JitterBuffer(RATE)
    for number in range(100):
        assert numbers(buffer.add(packet(number), number * SECONDS)) == [number]


def test_two_packets_that_changed_places_are_put_in_order():
    assert numbers(add_all(JitterBuffer(RATE), 0, 2, 1, 3)) == [0, 1, 2, 3]


def test_a_lost_packet_is_given_up_when_two_later_ones_are_here():
    buffer = JitterBuffer(RATE)
    assert numbers(add_all(buffer, 0, 2)) == [0]
    assert numbers(buffer.add(packet(3), 0.06)) == [-FRAME, 2, 3]
    # Nothing stays behind: the next one leaves as it comes.
    assert numbers(buffer.add(packet(4), 0.08)) == [4]


def test_a_lost_packet_is_given_up_when_time_is_up():
    buffer = JitterBuffer(RATE)
    add_all(buffer, 0)
    assert buffer.add(packet(2), 0.04) == []
    assert buffer.fill(0.04 + HOLD_SECONDS - 0.001) == []
    assert numbers(buffer.fill(0.04 + HOLD_SECONDS)) == [-FRAME, 2]


def test_a_packet_that_comes_twice_or_late_is_dropped():
    buffer = JitterBuffer(RATE)
    assert numbers(add_all(buffer, 0, 1, 1, 3, 4, 2, 5)) == [0, 1, -FRAME, 3, 4, 5]
    assert buffer.late == 2


def test_a_burst_of_losses_is_one_gap():
    assert numbers(add_all(JitterBuffer(RATE), 0, 31, 32, 33)) == [0, -30 * FRAME, 31, 32, 33]


def test_a_pause_of_the_sender_is_a_gap_though_no_packet_is_missing():
    buffer = JitterBuffer(RATE)
    add_all(buffer, 0)
    later = RtpSound(1, 1, 20 * FRAME, FRAME, b"\1")
    assert numbers(buffer.add(later, 0.1)) == [-19 * FRAME, 1]


def test_sequence_numbers_and_timestamps_wrap_around():
    buffer = JitterBuffer(RATE)
    edge = {"first_sequence": 2**16 - 3, "first_time": 2**32 - 2 * FRAME - 7}
    order = (0, 1, 3, 2, 4, 6, 7, 8)
    assert numbers(add_all(buffer, *order, **edge)) == [0, 1, 2, 3, 4, -FRAME, 6, 7, 8]


def test_another_source_begins_anew():
    buffer = JitterBuffer(RATE)
    add_all(buffer, 0, 1)
    assert numbers(buffer.add(packet(7, 500, 123_456, source=2), 0.1)) == [7]


def test_one_stray_packet_does_not_derail_the_stream_but_two_are_a_restart():
    buffer = JitterBuffer(RATE)
    add_all(buffer, 0)
    assert buffer.add(packet(30_000), 0.02) == []
    assert numbers(buffer.add(packet(1), 0.04)) == [1]
    assert buffer.add(packet(30_000), 0.06) == []
    assert numbers(buffer.add(packet(30_001), 0.08)) == [30_001]


def test_a_jump_of_the_senders_clock_is_not_filled():
    buffer = JitterBuffer(RATE)
    add_all(buffer, 0)
    for number, jump in ((1, 2**31), (2, 5), (3, 2**20)):
        moved = RtpSound(1, number, jump, FRAME, bytes([number]))
        assert numbers(buffer.add(moved, 0.0)) == [number]


def test_time_goes_on_when_nothing_arrives_and_stands_still_at_last():
    buffer = JitterBuffer(RATE)
    sound = length(add_all(buffer, 0))
    now = 0.0
    while now < 60.0:
        now += TICK
        sound += length(buffer.fill(now))
        behind = min(now, MAX_SILENCE_SECONDS) - sound / RATE
        assert behind < SILENT_SECONDS + 2 * SECONDS
    assert sound / RATE < MAX_SILENCE_SECONDS


def test_packets_that_come_late_in_a_burst_are_still_heard():
    buffer = JitterBuffer(RATE)
    add_all(buffer, 0)
    assert buffer.fill(SILENT_SECONDS) == []
    burst = [p for n in range(1, 10) for p in buffer.add(packet(n), SILENT_SECONDS)]
    assert numbers(burst) == list(range(1, 10))


def test_sound_that_was_filled_meanwhile_is_not_heard_again():
    buffer = JitterBuffer(RATE)
    sound = length(add_all(buffer, 0))
    sound += length(buffer.fill(1.0))
    odd = RtpSound(1, 1, sound - FRAME // 2, FRAME, b"\1")
    (piece,) = buffer.add(odd, 1.0)
    assert piece.skip == FRAME // 2
    assert length([piece]) == FRAME // 2


def stalled_line(seconds):
    """Seconds of audio that left, packets that were heard, and the surplus in the end."""
    buffer, waiting, heard, sound, now = JitterBuffer(RATE), [], [], 0, 0.0
    for number in range(round(seconds / SECONDS)):
        now = number * SECONDS
        waiting.append(number)
        pieces = []
        if now % 15.0 < 12.0:  # then nothing arrives for 3 s
            pieces = [p for each in waiting for p in buffer.add(packet(each), now)]
            waiting.clear()
        pieces += buffer.fill(now)
        sound += length(pieces)
        heard += [number for number in numbers(pieces) if number >= 0]
    return sound / RATE - now, heard, buffer.surplus / RATE


def test_what_was_said_during_a_long_stall_is_heard_whole():
    ahead, heard, surplus = stalled_line(20.0)
    assert heard == list(range(1000))
    assert ahead == pytest.approx(surplus + SECONDS)


def test_stalls_without_end_do_not_make_the_audio_run_ahead():
    """It was refused after some six minutes of them, being a minute ahead of time."""
    ahead, heard, surplus = stalled_line(900.0)
    assert ahead <= MAX_SURPLUS_SECONDS + SECONDS
    assert surplus <= MAX_SURPLUS_SECONDS
    assert len(heard) > 0.8 * 900 / SECONDS


lines = st.lists(
    st.tuples(st.booleans(), st.integers(0, 8), st.floats(0.0, 0.3), st.booleans()),
    min_size=1,
    max_size=80,
)


@pytest.mark.slow
@given(lines, st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.floats(-5e-4, 5e-4))
def test_whatever_the_line_does(line, first_sequence, first_time, drift):
    """Loss, order, delay, duplicates, wrap-around, a clock that drifts: time stays whole."""
    arrivals = []
    for number, (lost, swap, delay, twice) in enumerate(line):
        if not lost or number == 0:
            at = number * SECONDS * (1 + drift) + (delay if swap == 0 else 0.0)
            arrivals += [(at, number)] * (2 if twice else 1)
    first = arrivals[0][0]
    arrivals = [(max(at, first), number) for at, number in arrivals]
    arrivals.sort(key=lambda arrival: arrival[0])
    buffer = JitterBuffer(RATE)
    pieces, now = [], first
    for at, number in arrivals:
        while now + TICK < at:
            now += TICK
            pieces += buffer.fill(now)
        now = max(now, at)
        pieces += buffer.add(packet(number, first_sequence, first_time), now)
    for _ in range(5):
        now += TICK
        pieces += buffer.fill(now)
    heard = [number for number in numbers(pieces) if number >= 0]
    assert heard == sorted(set(heard))
    assert set(heard) <= {number for _, number in arrivals}
    # Where a packet begins is where its timestamp says: gaps are as long as what is missing.
    position = 0
    for piece in pieces:
        if isinstance(piece, Gap):
            position += piece.duration
        else:
            number = int.from_bytes(piece.payload, "big")
            assert position == number * FRAME + piece.skip
            position += piece.duration - piece.skip
    # And nothing is held back: what is here was heard, or came too late for it.
    assert len(heard) + buffer.late == len(arrivals)


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_no_delay_stays_behind_after_losses(loss):
    """The defect of aiortc's own buffer: there, one loss delays everything after it for ever."""
    chance = random.Random(5)
    buffer = JitterBuffer(RATE)
    delays = []
    for number in range(1, 5000):
        pieces = buffer.fill(number * SECONDS)
        if chance.random() >= loss:
            pieces += buffer.add(packet(number), number * SECONDS)
        delays += [number - sent for sent in numbers(pieces) if sent >= 0]
    delays.sort()
    assert delays[len(delays) // 2] == 0
    assert delays[-1] <= HOLD_SECONDS / SECONDS + 1  # noticed at the next tick
