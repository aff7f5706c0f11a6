"""Calls of a real aiortc peer to the real server over loopback, with scripted engines."""

import asyncio
import itertools
import json
import threading
import time

import aioice.ice
import httpx
import psutil
import pytest
from support.fakes import speech
from support.webrtc_calls import (
    CALLS,
    HERE,
    QUESTION,
    RATE,
    Ear,
    agent,
    call,
    lines_in_use,
    until_free,
)

from agent.config.settings import WebRtcSettings
from agent.latency.rtc_caller import RtcCaller
from agent.protocol import EventWriter, SessionFacts
from agent.session.notices import ReplyItemStarted, ReplyStarted, ReplyTextDelta
from agent.session.session import Session
from agent.transports.base import Disconnected, RuleBroken
from agent.transports.webrtc import (
    MAX_CHANNELS,
    MAX_UNREAD,
    MAX_UNSENT_BYTES,
    WebRtcTransport,
)

# ---- conversations -------------------------------------------------------------------


@pytest.mark.slow
async def test_a_spoken_question_is_answered_in_sound():
    ear = Ear()
    async with agent("how are you") as (url, _), call(url, ear) as caller:
        caller.say(QUESTION)
        events = await caller.until("output_audio_buffer.stopped")
    kinds = [event["type"] for event in events]
    heard = events[kinds.index("conversation.item.input_audio_transcription.completed")]
    assert heard["transcript"] == "how are you"
    assert kinds.index("output_audio_buffer.started") < kinds.index("response.done")
    assert "response.output_audio.delta" not in kinds
    assert events[-1]["response_id"] == events[kinds.index("response.created")]["response"]["id"]
    assert ear.loudest(0.0) > 0.1


@pytest.mark.slow
async def test_speech_cuts_the_reply_off_at_once_and_the_history_with_it():
    ear = Ear()
    async with agent("talk", "how are you") as (url, engines), call(url, ear) as caller:
        caller.say(QUESTION)
        await caller.until("output_audio_buffer.started")
        await ear.heard(0.5)
        caller.say(QUESTION)
        await caller.until("output_audio_buffer.cleared")
        cleared = time.monotonic()
        events = await caller.until("response.done")
        assert events[-1]["response"]["status"] == "cancelled"
        assert "onebreath.playback.stop" in [event["type"] for event in events]
        started = time.monotonic()
        await caller.until("output_audio_buffer.started")
        assert ear.loudest(cleared + 0.2, started) < 0.05
        await caller.until("response.done")
        spoken = engines.responder.prompts[-1][-2].content
        assert spoken.startswith("word word")
        assert len(spoken) < len("word " * 200) / 2


async def test_a_typed_message_is_answered_in_sound():
    async with agent() as (url, _), call(url, ear := Ear()) as caller:
        content = [{"type": "input_text", "text": "how are you"}]
        item = {"type": "message", "role": "user", "content": content}
        caller.send("conversation.item.create", item=item)
        caller.send("response.create")
        done = (await caller.until("response.done"))[-1]
        assert done["response"]["output"][0]["content"][0]["transcript"] == "Fine."
        assert ear.loudest(0.0) > 0.1


@pytest.mark.slow
async def test_the_client_clears_the_output():
    async with agent("talk") as (url, _), call(url) as caller:
        caller.say(QUESTION)
        await caller.until("output_audio_buffer.started")
        caller.send("output_audio_buffer.clear")
        await caller.until("output_audio_buffer.cleared")
        done = (await caller.until("response.done"))[-1]
        assert done["response"]["status_details"]["reason"] == "client_cancelled"


@pytest.mark.slow
async def test_what_was_not_played_is_truncated_by_the_server_unless_the_client_did():
    async with agent("talk", "talk") as (url, _), call(url) as caller:
        caller.say(QUESTION)
        await caller.until("output_audio_buffer.started")
        caller.send("output_audio_buffer.clear")
        stop = (await caller.until("onebreath.playback.stop"))[-1]
        cut = (await caller.until("conversation.item.truncated"))[-1]
        assert cut["item_id"] == stop["item_id"]
        assert cut["audio_end_ms"] < stop["heard_ms"]
        caller.say(QUESTION)
        added = (await caller.until("response.output_item.added"))[-1]
        await caller.until("output_audio_buffer.started")
        item = {"item_id": added["item"]["id"], "content_index": 0, "audio_end_ms": 1}
        caller.send("conversation.item.truncate", **item)
        ended = await caller.until("conversation.item.truncated")
        assert "response.done" in [event["type"] for event in ended]
        caller.send("input_audio_buffer.clear")
        rest = await caller.until("input_audio_buffer.cleared")
        assert "conversation.item.truncated" not in [event["type"] for event in rest]


async def test_a_ping_is_answered():
    async with agent() as (url, _), call(url) as caller:
        before = time.monotonic() * 1000
        caller.send("onebreath.ping", client_time_ms=7.25)
        pong = (await caller.until("onebreath.pong"))[-1]
        assert pong["client_time_ms"] == 7.25
        assert before - 0.001 <= pong["server_time_ms"] <= time.monotonic() * 1000


@pytest.mark.slow
async def test_sound_keeps_real_time_though_packets_are_lost():
    """A turn's end is counted in received sound, so a loss must not shorten it."""
    async with agent("how are you") as (url, _), call(url) as caller:
        # More in a row, or every other one, would fade: that is silence, which ends the turn.
        one_of_four = itertools.cycle([False, False, False, True])
        caller.lose(lambda: next(one_of_four))
        began = time.monotonic()
        caller.say(speech(2.0, RATE))
        stopped = (await caller.until("input_audio_buffer.speech_stopped"))[-1]
        spoken = stopped["audio_end_ms"] / 1000
        assert spoken == pytest.approx(2.0, abs=0.25)
        assert time.monotonic() - began < 4.0


# ---- bad events ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{not json", "invalid_json"),
        (b"\x00\x01", "invalid_message"),
        (json.dumps({"type": "make.coffee"}), "unknown_event"),
        (json.dumps({"type": "input_audio_buffer.append", "audio": "AAA="}), "invalid_value"),
        (json.dumps({"type": "response.create", "event_id": "x" * 70_000}), "message_too_large"),
    ],
)
async def test_bad_events_are_answered_and_the_call_goes_on(message, code):
    async with agent() as (url, _), call(url) as caller:
        caller.channel.send(message)
        error = (await caller.until("error"))[-1]["error"]
        assert error["code"] == code
        caller.send("onebreath.ping", client_time_ms=0)
        await caller.until("onebreath.pong")


@pytest.mark.slow
async def test_endless_garbage_ends_the_call_with_the_reason():
    async with agent() as (url, _), call(url) as caller:
        for _ in range(102):
            caller.channel.send("garbage")
        while (error := (await caller.until("error"))[-1]["error"])["code"] != "call_ended":
            assert error["code"] == "invalid_json"
        assert "could not be read" in error["message"]
        await caller.hung_up()


@pytest.mark.slow
async def test_a_message_without_end_ends_the_call():
    async with agent() as (url, _), call(url) as caller:
        sctp = caller.peer.sctp
        sctp._remote_max_message_size = 2**24
        caller.channel.send("x" * 2**23)
        await caller.hung_up()


FACTS = SessionFacts(
    "sess_1", "Be kind.", "smol", "whisper", "joe", "en", "server_vad", 0.5, 0.5, 0.4, None
)


class SlowChannel:
    """A data channel whose peer takes nothing."""

    label = "oai-events"
    bufferedAmount = 0

    def __init__(self):
        self.handlers = {}

    def on(self, event, handler):
        self.handlers[event] = handler

    def send(self, text):
        self.bufferedAmount += len(text)


async def test_sending_waits_for_a_slow_client_and_ends_when_it_leaves():
    transport = WebRtcTransport(EventWriter(FACTS), WebRtcSettings())
    channel = SlowChannel()
    transport._take_channel(channel)
    await transport.send(ReplyStarted("resp_1", "item_1"))
    await transport.send(ReplyItemStarted("resp_1", "item_1", None))
    channel.bufferedAmount = 0
    long = ReplyTextDelta("resp_1", "item_1", "x" * (MAX_UNSENT_BYTES // 2 + 1))
    await transport.send(long)
    waiting = asyncio.create_task(transport.send(long))
    await asyncio.sleep(0)
    assert not waiting.done()
    channel.bufferedAmount = 0
    channel.handlers["bufferedamountlow"]()
    await waiting
    channel.bufferedAmount = MAX_UNSENT_BYTES
    waiting = asyncio.create_task(transport.send(long))
    await asyncio.sleep(0)
    assert not waiting.done()
    channel.handlers["close"]()
    await waiting
    with pytest.raises(Disconnected):
        await transport.send(long)
    await transport.hang_up()


@pytest.mark.slow
async def test_more_messages_than_anybody_reads_end_the_call():
    transport = WebRtcTransport(EventWriter(FACTS), WebRtcSettings())
    transport._take_channel(channel := SlowChannel())
    for _ in range(MAX_UNREAD + 1):
        channel.handlers["message"]('{"type": "input_audio_buffer.clear"}')
    messages = transport.receive()
    for _ in range(MAX_UNREAD):
        await anext(messages)
    with pytest.raises(RuleBroken, match="1024 messages and pieces of sound are unread"):
        await anext(messages)
    await transport.hang_up()


@pytest.mark.slow
async def test_a_client_that_opens_channel_after_channel_is_dropped():
    async with agent() as (url, _), call(url) as caller:
        for number in range(MAX_CHANNELS):
            caller.peer.createDataChannel(f"number {number}")
        await caller.hung_up()
        await until_free(url)


# ---- the ends of calls -----------------------------------------------------------------


@pytest.mark.slow
async def test_a_client_is_told_that_the_server_is_being_stopped():
    async with agent() as (url, _):
        caller = RtcCaller(url, HERE)
        await caller.connect()
    try:
        error = (await caller.until("error"))[-1]["error"]
        assert (error["code"], error["message"]) == ("call_ended", "the server is being stopped")
        await caller.hung_up()
    finally:
        await caller.close()


@pytest.mark.slow
async def test_the_client_hangs_up():
    async with agent("talk") as (url, _):
        async with call(url) as caller:
            assert await lines_in_use(url) == 1
            caller.say(QUESTION)
            await caller.until("output_audio_buffer.started")
        await until_free(url)


@pytest.mark.slow
async def test_a_page_that_is_left_hangs_up_by_beacon():
    async with agent() as (url, _), call(url) as caller, httpx.AsyncClient(base_url=url) as web:
        headers = {"Content-Type": "text/plain;charset=UTF-8"}
        path = f"{CALLS}/{caller.call_id}/hangup"
        assert (await web.post(path, content=b"", headers=headers)).status_code == 200
        await caller.hung_up()
        await until_free(url)
        gone = await web.post(path)
        assert gone.status_code == 404
        assert gone.json()["error"]["code"] == "call_not_found"


@pytest.mark.slow
async def test_a_client_that_vanishes_frees_its_line(monkeypatch):
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.05)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)
    async with agent() as (url, _), call(url) as caller:
        ice = caller.peer.sctp.transport.transport
        for protocol in ice._connection._protocols:
            protocol.datagram_received = lambda data, address: None
        await until_free(url)


@pytest.mark.slow
async def test_the_server_ends_a_call_that_is_too_long():
    async with agent(max_call_seconds=0.3) as (url, _), call(url) as caller:
        await caller.hung_up()
        await until_free(url)


@pytest.mark.slow
async def test_a_fault_ends_the_call_with_an_error(monkeypatch):
    def faulty(session, event, now):
        raise RuntimeError("a bug")

    async with agent("x") as (url, _), call(url) as caller:
        monkeypatch.setattr(Session, "handle", faulty)
        caller.say(QUESTION)
        error = (await caller.until("error"))[-1]["error"]
        assert error["code"] == "call_ended"
        await caller.hung_up()


@pytest.mark.slow
async def test_twenty_calls_leave_nothing_behind():
    async with agent("talk", offers_per_minute=6000) as (url, _):
        before = None
        for number in range(21):
            async with call(url) as caller:
                caller.say(speech(0.1, RATE))
                if number % 2:
                    async with httpx.AsyncClient(base_url=url) as web:
                        await web.post(f"{CALLS}/{caller.call_id}/hangup")
                    await caller.hung_up()
            await until_free(url)
            if before is None:  # the first call makes what is kept: pools, codecs
                before = await belongings()
        assert await belongings() == before


async def belongings():
    """Tasks, threads and sockets of this process, once everything has settled."""
    for _ in range(50):
        await asyncio.sleep(0.01)
    sockets = [c for c in psutil.Process().net_connections() if c.type == 2]
    tasks = sorted(task.get_coro().__qualname__ for task in asyncio.all_tasks())
    threads = sorted(t.name.partition("_")[0] for t in threading.enumerate())
    return tasks, threads, len(sockets)
