"""Calls of a real aiortc peer to the real server over loopback, with scripted engines."""

import asyncio
import itertools
import json
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver
from aiortc.rtp import RtpPacket
from fakes import silence, speech
from test_server import server

from agent import signalling
from agent.errors import CallError
from agent.latency.rtc_caller import RtcCaller
from agent.transports import rtc_peer
from agent.transports.opus import RATE
from agent.transports.rtc_peer import BadOffer, check_offer, divert

HERE = ["127.0.0.1"]
CALLS = "/v1/realtime/calls"


@asynccontextmanager
async def agent(*heard, **settings):
    async with server(*heard, webrtc={"ice_hosts": HERE}, **settings) as (address, engines):
        yield f"http://{address}", engines


class Ear:
    """What a caller hears, and when."""

    def __init__(self):
        self.pieces = []

    def __call__(self, samples, at):
        self.pieces.append((at, samples))

    def loudest(self, since, until=float("inf")):
        levels = [float(np.abs(s).max()) for at, s in self.pieces if since <= at < until]
        return max(levels, default=0.0)

    async def heard(self, seconds):
        """Wait until this much of the reply arrived."""
        while sum(np.abs(s).max() > 0.05 for _, s in self.pieces) < seconds / 0.02:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def call(url, ear=None):
    caller = RtcCaller(url, HERE, ear)
    try:
        await caller.connect()
        yield caller
    finally:
        await caller.close()


QUESTION = np.concatenate([silence(0.1, RATE), speech(0.5, RATE), silence(0.6, RATE)])


async def offer_of(prepare=None):
    """An SDP offer without anybody behind it."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    if prepare is None:
        peer.createDataChannel("oai-events")
        peer.addTransceiver("audio")
    else:
        prepare(peer)
    rtc_peer.listen_on(peer, HERE)
    await peer.setLocalDescription(await peer.createOffer())
    sdp = peer.localDescription.sdp
    await peer.close()
    return sdp


# ---- conversations -------------------------------------------------------------------


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


async def test_the_client_clears_the_output():
    async with agent("talk") as (url, _), call(url) as caller:
        caller.say(QUESTION)
        await caller.until("output_audio_buffer.started")
        caller.send("output_audio_buffer.clear")
        await caller.until("output_audio_buffer.cleared")
        done = (await caller.until("response.done"))[-1]
        assert done["response"]["status_details"]["reason"] == "client_cancelled"


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
        await caller.until("conversation.item.truncated")
        caller.send("output_audio_buffer.clear")
        caller.send("onebreath.ping", client_time_ms=0)
        await caller.until("response.done")
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


async def test_sound_keeps_real_time_though_packets_are_lost():
    """A turn's end is counted in received sound, so a loss must not shorten it."""
    async with agent("how are you") as (url, _), call(url) as caller:
        every_other = itertools.cycle([True, False])
        caller.lose(lambda: next(every_other))
        began = time.monotonic()
        caller.say(speech(2.0, RATE))
        stopped = (await caller.until("input_audio_buffer.speech_stopped"))[-1]
        spoken = stopped["audio_end_ms"] / 1000
        assert spoken == pytest.approx(2.0, abs=0.5)
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


async def test_endless_garbage_ends_the_call_with_the_reason():
    async with agent() as (url, _), call(url) as caller:
        for _ in range(102):
            caller.channel.send("garbage")
        while (error := (await caller.until("error"))[-1]["error"])["code"] != "call_ended":
            assert error["code"] == "invalid_json"
        assert "could not be read" in error["message"]
        await caller.hung_up()


async def test_a_message_without_end_ends_the_call():
    async with agent() as (url, _), call(url) as caller:
        sctp = caller.peer.sctp
        sctp._remote_max_message_size = 2**24
        caller.channel.send("x" * 2**23)
        await caller.hung_up()


# ---- the ends of calls -----------------------------------------------------------------


async def lines_in_use(url):
    async with httpx.AsyncClient() as web:
        return (await web.get(f"{url}/readyz")).json()["calls"]


async def until_free(url):
    while await lines_in_use(url):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_the_client_hangs_up():
    async with agent("talk") as (url, _):
        async with call(url) as caller:
            assert await lines_in_use(url) == 1
            caller.say(QUESTION)
            await caller.until("output_audio_buffer.started")
        await until_free(url)


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


async def test_the_server_ends_a_call_that_is_too_long():
    async with agent(max_call_seconds=0.3) as (url, _), call(url) as caller:
        await caller.hung_up()
        await until_free(url)


async def test_a_fault_ends_the_call_with_an_error():
    def faulty(words):
        raise RuntimeError("a bug")

    async with agent("x") as (url, engines), call(url) as caller:
        engines.responder._script = faulty
        caller.say(QUESTION)
        error = (await caller.until("error"))[-1]["error"]
        assert error["code"] == "call_ended"
        await caller.hung_up()


async def test_an_offer_that_nobody_follows_up_is_dropped(monkeypatch):
    monkeypatch.setattr(signalling, "PENDING_SECONDS", 0.3)
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        offer = await offer_of()
        for _ in range(2):  # the same offer twice is two calls, and neither comes about
            assert (await post(web, offer)).status_code == 201
        assert await lines_in_use(url) == 2
        busy = await post(web, offer)
        assert busy.status_code == 503
        assert busy.json()["error"]["code"] == "server_full"
        assert int(busy.headers["retry-after"]) > 0
        await until_free(url)


@pytest.mark.slow
async def test_twenty_calls_leave_nothing_behind():
    async with agent("talk") as (url, _):
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


# ---- offers ------------------------------------------------------------------------------


def post(web, offer):
    return web.post(CALLS, content=offer, headers={"Content-Type": "application/sdp"})


async def test_offers_in_every_form():
    async with agent(max_calls=3) as (url, _), httpx.AsyncClient(base_url=url) as web:
        offer = await offer_of()
        session = {"type": "realtime", "instructions": "Be brief."}
        plain = await post(web, offer)
        assert plain.status_code == 201
        assert plain.headers["content-type"].startswith("application/sdp")
        assert plain.headers["location"].startswith(f"{CALLS}/rtc_")
        assert "m=audio" in plain.text
        form = {"sdp": (None, offer), "session": (None, json.dumps(session))}
        answer = await web.post(CALLS, files=form)
        assert answer.status_code == 201
        assert answer.text.startswith("v=0")
        answer = (await web.post(CALLS, json={"sdp": offer, "session": session})).json()
        assert answer["call_id"].startswith("rtc_")
        assert answer["sdp"].startswith("v=0")
        assert not any(line.startswith("a=candidate") for line in answer["sdp"].splitlines()
                       if "127.0.0.1" not in line)  # fmt: skip


async def test_the_session_of_the_offer_is_applied():
    async with agent() as (url, _):
        caller = RtcCaller(url, HERE)
        await caller.connect({"type": "realtime", "instructions": "Be brief."})
        updated = (await caller.until("session.updated"))[-1]
        assert updated["session"]["instructions"] == "Be brief."
        await caller.close()


@pytest.mark.parametrize(
    ("prepare", "what"),
    [
        (lambda peer: peer.createDataChannel("x"), "application"),
        (lambda peer: peer.addTransceiver("audio"), "audio"),
        (lambda peer: (peer.addTransceiver("video"), peer.createDataChannel("x")), "video"),
        (
            lambda peer: (
                [peer.addTransceiver("audio") for _ in "ab"] + [peer.createDataChannel("x")]
            ),
            "audio, audio",
        ),
    ],
)
async def test_offers_without_the_right_sections(prepare, what):
    offer = await offer_of(prepare)
    with pytest.raises(BadOffer, match=what):
        check_offer(offer)


@pytest.mark.parametrize("bad", ["", "garbage", "v=0\r\nm=audio\r\n", "v=0\n" * 20_000, "\0" * 9])
async def test_offers_that_are_no_sdp(bad):
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        answer = await post(web, bad)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_offer"
        assert await lines_in_use(url) == 0


async def test_an_offer_without_opus_or_with_a_flood_of_candidates_is_refused():
    offer = await offer_of()
    flood = offer + "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 33
    with pytest.raises(BadOffer, match="candidates"):
        check_offer(flood)
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        answer = await post(web, offer.replace("opus", "speex"))
        assert answer.status_code == 400
        assert await lines_in_use(url) == 0


async def test_requests_that_are_no_offers():
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        assert (await web.post(CALLS, content=b"x")).status_code == 415
        assert (await web.post(CALLS, json={"sdp": 5})).status_code == 400
        assert (await web.post(CALLS, json={"sdp": "x", "tea": 1})).status_code == 400
        assert (await web.post(CALLS, data={"sdp": "x"})).status_code == 415
        assert (await web.post(CALLS, files={"session": (None, "{}")})).status_code == 400
        assert (await web.post(CALLS, content=b"x" * 200_000)).status_code == 413
        bad_session = {"sdp": await offer_of(), "session": {"type": "realtime", "tea": 1}}
        answer = await web.post(CALLS, json=bad_session)
        assert answer.json()["error"]["code"] == "unknown_parameter"

        async def chunks():
            yield b"x"

        assert (await web.post(CALLS, content=chunks())).status_code == 411


async def test_other_sites_may_not_call():
    async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
        evil = {"Origin": "https://evil.example"}
        assert (await web.post(CALLS, headers=evil)).status_code == 403
        assert (await web.post(f"{CALLS}/rtc_1/hangup", headers=evil)).status_code == 403
        assert (await web.get("/v1/realtime/ice", headers=evil)).status_code == 403
        own = {"Origin": url, "Content-Type": "application/sdp"}
        assert (await web.post(CALLS, headers=own, content=await offer_of())).status_code == 201


async def test_the_page_gets_the_ice_servers_of_the_settings():
    turn = {"urls": "turn:turn.example:3478", "username": "u", "credential": "c"}
    for servers in ([], [turn]):
        async with (
            server(webrtc={"ice_servers": servers}) as (address, _),
            httpx.AsyncClient(base_url=f"http://{address}") as web,
        ):
            assert (await web.get("/v1/realtime/ice")).json() == {"iceServers": servers}


async def test_nobody_answers():
    caller = RtcCaller("http://127.0.0.1:9", HERE)
    with pytest.raises(CallError, match="nobody answers"):
        await caller.connect()
    await caller.close()


# ---- what we rely on in aiortc -------------------------------------------------------------


async def test_aiortc_is_built_as_we_think():
    """Fails when aiortc moves what rtc_peer.py replaces; then read docs/adr/0009."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver = peer.addTransceiver("audio").receiver
    taken = []
    divert(receiver, taken.append)
    codec = RTCRtpReceiver.getCapabilities("audio").codecs[0]
    codec.payloadType = 96
    receiver._RTCRtpReceiver__codecs[96] = codec
    packet = RtpPacket(payload_type=96, sequence_number=1)
    packet.payload = b"\xfc"
    await receiver._handle_rtp_packet(packet, 0)
    assert [p.payload for p in taken] == [b"\xfc"]
    peer.createDataChannel("x")
    assert peer.sctp._advertised_rwnd == 2**20
    await peer.close()


def test_another_aiortc_is_refused():
    class Rebuilt:
        pass

    with pytest.raises(RuntimeError, match="pinned"):
        divert(Rebuilt(), print)


def test_only_one_module_knows_private_names_of_aiortc():
    root = Path(__file__).parent.parent / "agent"
    known = {p.name for p in root.rglob("*.py") if "_RTC" in p.read_text()}
    assert known == {"rtc_peer.py"}
