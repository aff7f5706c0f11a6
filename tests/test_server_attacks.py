"""Hostile clients of the server's own port: floods, half requests, lies about lengths."""

import asyncio
import contextlib
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import psutil
import pytest
from starlette.requests import Request
from support.webrtc_calls import CALLS
from test_server import append, close_code, dial, server, speech, until

from agent.protocol import BadEvent, parse
from agent.runtime.calls import CallRefused, CallRegistry
from agent.server import bodies, http_deadlines
from agent.server.fair_share import AddressRates
from agent.transports.fair_websocket import MAX_FRAGMENTS
from agent.transports.pace import ADDRESS_FACTOR, EVENTS, TELL_SECONDS, TURNS, Paces


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


# ---- rates -----------------------------------------------------------------------------


def test_an_unknown_event_is_refused_at_once():
    """The list of known events was made from a JSON schema each time: 9 ms."""
    began = time.process_time()
    for _ in range(500):
        with pytest.raises(BadEvent):
            parse("{}")
    assert time.process_time() - began < 1


def test_events_turns_and_bytes_have_rates_that_allow_bursts():
    pace = Paces(clock := Clock()).of("192.0.2.1")
    assert all(pace.allow(100) for _ in range(int(EVENTS.burst)))
    assert not pace.allow(100)
    clock.now += 2.0
    assert pace.allow(100)
    assert all(pace.allow(1, turns=1) for _ in range(int(TURNS.burst)))
    assert not pace.allow(1, turns=1)
    assert not Paces(clock).of("192.0.2.1").allow(64 * 2**20)


async def test_a_client_over_its_rate_waits_and_is_told_once(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pace = Paces(clock := Clock()).of("192.0.2.1")
    for _ in range(int(EVENTS.burst)):
        pace.note()
    assert pace.remark() is None
    pace.note()
    assert pace.remark().code == "rate_limit_exceeded"
    await pace.rest()
    assert slept[-1] == pytest.approx(1 / EVENTS.steady, rel=0.5)
    pace.note()
    assert pace.remark() is None  # it was told
    clock.now += TELL_SECONDS
    for _ in range(int(EVENTS.burst) + 9):
        pace.note()
    assert pace.remark() is not None


def test_a_new_connection_does_not_begin_anew_but_another_address_does():
    paces = Paces(Clock())
    for _ in range(int(ADDRESS_FACTOR)):
        pace = paces.of("192.0.2.1")
        assert all(pace.allow() for _ in range(int(EVENTS.burst)))
    assert not paces.of("192.0.2.1").allow()
    assert paces.of("192.0.2.2").allow()


def test_calls_of_one_address_leave_lines_for_others():
    calls = CallRegistry(4)
    for _ in range(2):
        calls.admit("websocket", address="192.0.2.1")
    with pytest.raises(CallRefused, match="from this address") as refused:
        calls.admit("websocket", address="192.0.2.1")
    assert refused.value.status == 429
    calls.admit("websocket", address="192.0.2.2")
    here = CallRegistry(4)
    for _ in range(4):
        here.admit("websocket", address="127.0.0.1")
    strict = CallRegistry(4, max_calls_per_address=1)
    strict.admit("websocket", address="127.0.0.1")
    with pytest.raises(CallRefused):
        strict.admit("websocket", address="127.0.0.1")


@pytest.mark.slow
async def test_offers_have_a_rate_for_each_address():
    async with (
        server(offers_per_minute=1) as (address, _),
        httpx.AsyncClient(base_url=f"http://{address}") as web,
    ):
        answers = [await web.post(CALLS, content=b"") for _ in range(10)]
    assert [answer.status_code for answer in answers] == [415] * 8 + [429] * 2
    assert answers[-1].json()["error"]["code"] == "too_many_offers"
    assert int(answers[-1].headers["retry-after"]) > 0


def test_addresses_are_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr("agent.server.fair_share.MAX_ADDRESSES", 3)
    rates = AddressRates(1, 1, Clock())
    assert [rates.allow(f"192.0.2.{number}") for number in (1, 2, 3, 4)] == [True] * 4
    assert not rates.allow("192.0.2.4")
    assert len(rates._buckets) == 3


# ---- floods over a websocket --------------------------------------------------------------

POST = b"POST /v1/realtime/calls HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def frames(count, opcode=0x81, payload=b"{}"):
    """Masked frames with a mask of zeros."""
    return (bytes([opcode, 0x80 | len(payload)]) + bytes(4) + payload) * count


@asynccontextmanager
async def wire(address, request=b""):
    """A TCP connection to the server, on which ``request`` is sent."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def raw(address):
    """An open websocket, as streams."""
    upgrade = (
        b"GET /v1/realtime HTTP/1.1\r\nHost: " + address.encode() + b"\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    async with wire(address, upgrade) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        yield reader, writer


async def longest_wait(seconds):
    """Seconds of work of the longest round of the event loop, within ``seconds``."""
    longest, ends = 0.0, time.monotonic() + seconds
    while time.monotonic() < ends:
        before = time.thread_time()
        await asyncio.sleep(0.001)
        longest = max(longest, time.thread_time() - before)
    return longest


@pytest.mark.slow
@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frames(30_000), id="{}"),
        pytest.param(frames(30_000, 0x89, b""), id="pings"),
        pytest.param(frames(30_000, 0x8A, b""), id="pongs"),
        pytest.param(
            frames(30_000, payload=b'{"type":"onebreath.ping","client_time_ms":1}'), id="our pings"
        ),
    ],
)
async def test_a_flood_leaves_the_loop_its_turns(flood):
    async with server() as (address, _), raw(address) as (_, writer):
        writer.write(flood)
        assert await longest_wait(0.5) < 0.1  # parsed in one go: a second
        async with httpx.AsyncClient(base_url=f"http://{address}") as web:
            assert (await web.get("/healthz")).status_code == 200


@pytest.mark.slow
async def test_half_a_minute_of_sound_in_one_event_leaves_the_loop_its_turns(monkeypatch):
    def slow(self, frame):
        ends = time.thread_time() + 0.001
        while time.thread_time() < ends:
            pass
        return 0.0

    monkeypatch.setattr("support.fakes.LoudIsSpeech.probability", slow)
    async with server() as (address, _), dial(address) as line:
        await until(line, "session.created")
        await line.send(append(speech(15, 24_000)))
        assert await longest_wait(0.8) < 0.2  # 469 frames in one go: half a second


async def test_a_message_of_endless_fragments_is_refused():
    async with server() as (address, _), raw(address) as (reader, writer):
        writer.write(frames(1, 0x01, b"x") + frames(MAX_FRAGMENTS + 2, 0x00, b""))
        async with asyncio.timeout(10):
            rest = await reader.read()
    assert b"fragments" in rest


async def test_text_that_is_not_utf_8_ends_the_connection_without_a_traceback(caplog):
    async with server() as (address, _), raw(address) as (reader, writer):
        writer.write(frames(1, payload=b"\xff\xfe"))
        async with asyncio.timeout(10):
            rest = await reader.read()
    assert rest.endswith(b"UTF-8") or b"\x03\xef" in rest
    assert "Traceback" not in caplog.text


async def test_many_messages_that_are_no_events_end_the_call():
    async with server() as (address, _), dial(address) as line:
        for _ in range(120):
            await line.send("no JSON")
        assert await close_code(line) == 1008


# ---- half requests ---------------------------------------------------------------------


async def test_silent_connections_keep_nobody_out():
    async with server() as (address, _):
        silent = AsyncExitStack()
        lines = [await silent.enter_async_context(wire(address)) for _ in range(90)]
        async with silent, httpx.AsyncClient(base_url=f"http://{address}") as web:
            for path in ("/healthz", "/readyz", "/metrics", "/"):
                assert (await web.get(path)).status_code == 200
            assert await lines[0][0].read() == b""  # the oldest made room


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /v1/realtime/calls HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\nabc",
    ],
)
async def test_a_request_that_does_not_go_on_is_dropped(begun, monkeypatch):
    monkeypatch.setattr(http_deadlines, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(http_deadlines, "BODY_SECONDS", 0.1)
    async with server() as (address, _), wire(address, begun) as (reader, _):
        async with asyncio.timeout(3):
            with contextlib.suppress(ConnectionResetError):
                await reader.read()


HANDSHAKE = (
    b"Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.mark.parametrize(
    "handshake",
    [
        pytest.param(b"POST /v1/realtime HTTP/1.1\r\n" + HANDSHAKE, id="POST"),
        pytest.param(
            b"GET /v1/realtime HTTP/1.1\r\n" + HANDSHAKE + b"Content-Length: 4\r\n", id="a body"
        ),
        pytest.param(
            b"GET /v1/realtime HTTP/1.1\r\n" + HANDSHAKE + b"X: y\r\n" * 200, id="many headers"
        ),
        pytest.param(
            b"GET /v1/realtime HTTP/1.1\r\n" + HANDSHAKE + b"X: " + b"y" * 40_000 + b"\r\n",
            id="a long header",
        ),
        pytest.param(
            b"GET /v1/realtime HTTP/1.1\r\n"
            + HANDSHAKE
            + b"Sec-WebSocket-Protocol: \xff, realtime\r\n",
            id="a protocol that is no text",
        ),
    ],
)
async def test_a_handshake_that_cannot_be_read_holds_no_connection(handshake, caplog):
    """Uvicorn keeps it open without an answer, and without a bound on their number."""
    async with server() as (address, _), wire(address, handshake + b"\r\n") as (reader, _):
        async with asyncio.timeout(5):
            assert (await reader.read())[:12] in {b"HTTP/1.1 400", b""}
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.slow
async def test_a_websocket_and_a_kept_connection_outlive_the_deadlines(monkeypatch):
    monkeypatch.setattr(http_deadlines, "HEADER_SECONDS", 0.1)
    monkeypatch.setattr(http_deadlines, "BODY_SECONDS", 0.1)
    async with (
        server() as (address, _),
        dial(address) as line,
        httpx.AsyncClient(base_url=f"http://{address}") as web,
    ):
        for _ in range(2):
            assert (await web.get("/healthz")).status_code == 200
            await asyncio.sleep(0.15)
        await line.send(json.dumps({"type": "onebreath.ping", "client_time_ms": 1}))
        await until(line, "onebreath.pong")


async def test_a_body_longer_than_it_says_is_cut_off():
    """`Content-Length: 4` beside chunks: what was read grew by hundreds of MB."""
    before = psutil.Process().memory_info().rss
    chunked = b"Transfer-Encoding: chunked"
    async with server() as (address, _):
        for lie in (b"Content-Length: 4\r\n" + chunked, chunked):
            head = POST + b"Content-Type: application/sdp\r\n" + lie + b"\r\n\r\n"
            async with wire(address, head) as (reader, writer):
                writer.write((b"10000\r\n" + bytes(65536) + b"\r\n") * 100)
                answer = await reader.readline()
                assert answer.split()[1] in (b"411", b"413", b"400")
    assert psutil.Process().memory_info().rss - before < 50 * 2**20


HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize("first", [b"", HIDDEN], ids=["first", "second"])
@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"transfer-encoding: chunked\r\ncontent-length: 4",
        b"Transfer-Encoding: CHUNKED\r\nContent-Length: 0",
    ],
)
async def test_nothing_is_read_behind_a_request_with_two_lengths(lengths, first):
    """A proxy that goes by the other length would have let a request pass unseen."""
    head = POST + b"Content-Type: application/sdp\r\n" + lengths + b"\r\n\r\n0\r\n\r\n"
    async with server() as (address, _), wire(address, first + head + HIDDEN) as (reader, _):
        answers = await asyncio.wait_for(reader.read(), 5)
    assert answers.count(b"HTTP/1.1 411 ") == 1
    assert answers.count(b"HTTP/1.1 200 ") == bool(first)


async def test_requests_behind_one_another_are_answered():
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with server() as (address, _), wire(address, head + HIDDEN) as (reader, _):
        await asyncio.wait_for(reader.readuntil(b"HTTP/1.1 200 "), 5)


async def test_a_body_without_an_end_is_cut_off_whatever_its_headers_say():
    sent = 0

    async def receive():
        nonlocal sent
        sent += 65536
        return {"type": "http.request", "body": bytes(65536), "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(bodies.BodyRefused) as refused:
        await bodies.read_body(request, 131_072)
    assert (refused.value.status, sent) == (413, 3 * 65536)


@pytest.mark.slow
async def test_a_body_that_trickles_is_given_up(monkeypatch):
    monkeypatch.setattr(bodies.read_body, "__defaults__", (0.1,))
    async with (
        server() as (address, _),
        httpx.AsyncClient(base_url=f"http://{address}") as web,
    ):

        async def trickle():
            yield b"v"
            await asyncio.sleep(0.3)
            yield b"=0\r\n"

        headers = {"Content-Length": "5", "Content-Type": "application/sdp"}
        answer = await web.post(CALLS, content=trickle(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (408, "body_too_slow")


async def test_a_client_that_leaves_within_its_body_leaves_no_traceback(caplog):
    async with server() as (address, _):
        for kind in (b"application/sdp", b"application/json", b"multipart/form-data; boundary=x"):
            head = POST + b"Content-Type: " + kind + b"\r\nContent-Length: 50\r\n\r\nabc"
            async with wire(address, head):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
    assert "Traceback" not in caplog.text
