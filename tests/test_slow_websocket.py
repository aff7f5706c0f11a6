"""Websockets on links that are slower than sound: what is heard is now, not then."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from support.fakes import silence, speech
from test_network_virtual import SETTINGS, scripted

from agent.audio.wire_format import WireFormat
from agent.bench.memory_network import StreamCall, in_memory
from agent.bench.network_link import Condition
from agent.bench.page_sound import PageSound, as_text
from agent.runtime.unsent import MAX_UNSENT, Unsent
from agent.session.events import Configure
from agent.session.notices import Configured, Play, Remark, ReplyTextDelta, StopPlaying
from agent.session.playback import Delivery
from agent.transports.client_lag import ClientLag

RATE = 24_000
LIGHTER = Configured(Configure(output_format=WireFormat("pcmu", 8000)))


def play(reply="resp_1", seconds=0.06):
    return Play(reply, "item_1", np.zeros(round(seconds * RATE), np.float32), RATE)


def waiting(unsent):
    async def drain():
        return [await unsent.get() for _ in range(len(unsent))]

    return asyncio.run(drain())


def test_the_sound_of_a_stopped_reply_is_not_sent_any_more():
    unsent = Unsent()
    words, stop, other = (
        ReplyTextDelta("resp_1", "item_1", "Hi"),
        StopPlaying("resp_1", "i", 0),
        play("resp_2"),
    )
    for notice in (play(), words, play(), other, stop):
        unsent.put(notice)
    assert unsent.sound == pytest.approx(0.06)
    assert waiting(unsent) == [words, other, stop]


def test_a_lighter_format_overtakes_the_sound_that_it_is_for():
    unsent = Unsent()
    slow, words, sound = Remark("network_slow", ""), ReplyTextDelta("resp_1", "i", "Hi"), play()
    for notice in (words, sound, slow, LIGHTER, Remark("backchannel", "")):
        unsent.put(notice)
    assert waiting(unsent) == [words, slow, LIGHTER, sound, Remark("backchannel", "")]


def test_sound_is_held_back_from_half_a_second_on_and_goes_on_below_half_of_it():
    unsent = Unsent()
    for _ in range(6):
        unsent.put(play(seconds=0.13))
    assert unsent.full(Delivery.PACED, 0.0, was=False)
    assert not unsent.full(Delivery.AT_ONCE, 0.0, was=False)
    assert not unsent.full(Delivery.TRACK, 0.0, was=False)

    async def send(count):
        for _ in range(count):
            unsent.sent(await unsent.get())

    asyncio.run(send(3))
    assert unsent.full(Delivery.PACED, 0.0, was=True)
    assert not unsent.full(Delivery.PACED, 0.0, was=False)
    asyncio.run(send(len(unsent)))
    assert unsent.sound == 0.0
    assert not unsent.full(Delivery.PACED, 0.0, was=True)


def test_sound_that_is_being_sent_counts_as_waiting():
    unsent = Unsent()
    unsent.put(play(seconds=0.6))
    assert asyncio.run(unsent.get()).rate == RATE
    assert unsent.full(Delivery.PACED, 0.0, was=False)


def test_only_so_many_notices_wait():
    unsent = Unsent()
    for _ in range(MAX_UNSENT):
        unsent.put(Remark("backchannel", ""))
    with pytest.raises(asyncio.QueueFull):
        unsent.put(play())


def test_sound_that_waits_goes_in_longer_pieces():
    unsent = Unsent()
    for _ in range(10):
        unsent.put(play())
    unsent.put(play("resp_2"))
    sizes = [(each.response_id, round(len(each.samples) / RATE, 2)) for each in waiting(unsent)]
    at_once = [("resp_1", 0.06)] * 4
    assert sizes == [*at_once, ("resp_1", 0.24), ("resp_1", 0.12), ("resp_2", 0.06)]


# ---- what the client has ---------------------------------------------------------------


def pinging(*pings):
    """The lag after pings of (second on the client's clock, way up, newest pong)."""
    lag = ClientLag()
    for at, way, newest in pings:
        lag.pinged(at, newest, at + way)
    return lag


PROMPT = [(0.0, 0.05, None), (0.5, 0.05, 0.05), (1.0, 0.05, 0.55)]


def test_a_client_that_names_its_pongs_is_behind_by_what_it_had_not_when_it_pinged():
    assert pinging(*PROMPT).behind(1.1) == 0.0
    late = pinging(*PROMPT, (1.5, 0.05, 0.55), (2.0, 0.05, 0.55))
    assert late.behind(2.1) == pytest.approx(1.0), "the pong of 1.05 had not come by 2.05"
    late.pinged(2.5, 2.05, 2.55)
    assert late.behind(2.6) == 0.0


def test_a_slow_way_up_is_no_lag_of_what_goes_down():
    lag = pinging(*PROMPT, (1.5, 1.05, 1.05), (2.0, 1.05, 1.05), (2.5, 1.05, 1.05))
    assert lag.behind(3.6) == pytest.approx(0.0)


def test_a_long_way_is_no_lag():
    lag = pinging(*((0.5 * n, 0.6, 0.5 * n - 0.9 if n > 2 else None) for n in range(9)))
    assert lag.behind(4.7) == 0.0


def test_a_page_that_is_hidden_and_pings_seldom_is_not_taken_for_late():
    late = pinging(*PROMPT, (1.5, 0.05, 0.55), (2.0, 0.05, 0.55))
    assert late.behind(2.1) > 0.7
    assert late.behind(6.0) == 0.0
    late.pinged(62.0, 2.05, 62.05)
    assert late.behind(62.1) == 0.0


def test_pings_that_name_nothing_say_nothing():
    assert pinging((0.0, 0.05, None), (0.5, 0.05, None), (5.0, 0.05, None)).behind(5.1) == 0.0


# ---- whole calls -----------------------------------------------------------------------


class Talk:
    """A caller on a link of so many bits per second, who says what a test tells him to say."""

    def __init__(self, rate, answer):
        self.call = StreamCall(scripted(answer), SETTINGS, Condition("link", rate=rate))

    def at(self, kind):
        return [(at, event) for at, event in self.call.came if event["type"] == kind]

    async def say(self, sound):
        for start in range(0, len(sound), 480):
            await self.call.send(sound[start : start + 480])
            await asyncio.sleep(0.02)

    async def until(self, condition, within=60):
        for _ in range(10 * within):
            if condition():
                return
            await self.say(silence(0.1, RATE))
        raise AssertionError("it did not come")

    def lags(self):
        """Seconds that each pong took longer than the fastest from the server to here."""
        ways = [at - event["server_time_ms"] / 1000 for at, event in self.at("onebreath.pong")]
        return [way - min(ways) for way in ways]


def held(rate, answer, script):
    """Hold a call of a `Talk` in virtual time; returns it."""
    talk = Talk(rate, answer)

    async def hold():
        await talk.call.connect()

        async def listen():
            async for _ in talk.call.receive():
                pass

        listening = asyncio.create_task(listen())
        try:
            await script(talk)
        finally:
            listening.cancel()
            await talk.call.close()

    in_memory(hold())
    return talk


ANSWER = "This is an answer of some length, of which all words are heard in turn. " * 3


@pytest.mark.slow
def test_on_a_slow_link_the_page_takes_a_lighter_format_and_hears_now():
    """PCM takes 512 kbit/s and more; a link of 128 carries G.711."""

    async def ask_twice(talk):
        for number in (1, 2):
            await talk.say(silence(2.0, RATE))
            await talk.say(speech(0.6, RATE))
            asked = asyncio.get_running_loop().time()
            await talk.until(lambda n=number: len(talk.at("response.done")) == n)
        first = [at for at, _ in talk.at("response.output_audio.delta") if at > asked]
        talk.waited = first[0] - asked

    talk = held(128_000, ANSWER, ask_twice)
    assert talk.call.page.format.kind == "pcmu"
    assert talk.call.page.changes == 1
    (_, updated), *_ = talk.at("session.updated")
    audio = updated["session"]["audio"]
    assert audio["output"]["format"]["type"] == audio["input"]["format"]["type"] == "audio/pcmu"
    assert talk.waited < 2.0
    said = [event["response"] for _, event in talk.at("response.done")]
    assert [each["status"] for each in said] == ["completed", "completed"]


@pytest.mark.slow
def test_on_a_slow_link_an_interruption_is_heard_soon_and_nothing_of_the_old_reply_after_it():
    async def interrupt(talk):
        await talk.say(silence(12.0, RATE))  # by then the format is the lighter one
        await talk.say(speech(0.6, RATE))
        await talk.until(lambda: talk.at("response.output_audio.delta"))
        await talk.say(silence(3.0, RATE))
        talk.began = asyncio.get_running_loop().time()
        await talk.say(speech(1.5, RATE))
        await talk.until(lambda: talk.at("onebreath.playback.stop"))
        await talk.say(silence(3.0, RATE))

    talk = held(128_000, ANSWER * 3, interrupt)
    (stopped, event), *_ = talk.at("onebreath.playback.stop")
    assert stopped - talk.began < 2.5
    assert not [
        at
        for at, sound in talk.at("response.output_audio.delta")
        if sound["response_id"] == event["response_id"] and at > stopped
    ]


@pytest.mark.slow
def test_a_client_that_goes_on_with_pcm_is_told_and_never_far_behind(monkeypatch):
    """All of the reply comes, later than it is spoken, and little of it is ever under way."""
    monkeypatch.setattr(PageSound, "_late", lambda *_: iter(()))
    monkeypatch.setattr(PageSound, "_lag", lambda *_: 99.0)  # its microphone is off
    asked = []

    async def listen(talk):
        await talk.say(silence(0.1, RATE))
        item = {"type": "message", "role": "user"}
        content = [{"type": "input_text", "text": "how are you"}]
        for event in (
            {"type": "conversation.item.create", "item": {**item, "content": content}},
            {"type": "response.create"},
        ):
            talk.call._up.put_nowait(as_text(event))
        asked.append(asyncio.get_running_loop().time())
        await talk.until(lambda: talk.at("response.done"), within=120)

    talk = held(256_000, ANSWER, listen)
    sound = [len(event["delta"]) * 3 / 4 for _, event in talk.at("response.output_audio.delta")]
    seconds = sum(sound) / (2 * RATE)
    (done, event), *_ = talk.at("response.done")
    assert event["response"]["status"] == "completed"
    assert done - asked[0] > 1.5 * seconds, "the link carries less than is spoken"
    assert max(talk.lags()) < 3.0, "a second of sound is twice as long for this link, once"
    (_, told), *_ = talk.at("onebreath.notice")
    assert told["code"] == "network_slow"
    assert "audio/pcmu" in told["message"]
