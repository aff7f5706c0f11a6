"""What strangers can do to the media sockets: very little."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from uuid import UUID

import pytest
from support import pbx, telephony_providers
from support.fakes import silence
from support.telephony_providers import admitted, closed, dial, send, start, telephony_server
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from agent.telephony.check.fake_providers import ProviderMessage, Twilio

QUIET = silence(0.02, 8000)


@pytest.mark.slow
async def test_a_socket_that_says_nothing_is_closed() -> None:
    async with telephony_server(telephony={"start_seconds": 0.2}) as server, dial(server) as line:
        began = time.monotonic()
        assert await closed(line) == 1008
        assert time.monotonic() - began < 2.0


@pytest.mark.slow
async def test_a_socket_that_trickles_is_closed_all_the_same() -> None:
    async with telephony_server(telephony={"start_seconds": 0.3}) as server, dial(server) as line:
        closing = asyncio.create_task(closed(line))
        while not closing.done():
            await send(line, '{"event":"connected"}')
            await asyncio.sleep(0.02)
        assert await closing == 1008


async def test_endless_talk_before_the_start() -> None:
    async with telephony_server() as server, dial(server) as line:
        await send(line, *['{"event":"connected"}'] * 200)
        assert await closed(line) == 1002


@pytest.mark.parametrize(
    "token", ["", "0" * 68, "é" * 34, " " * 68, "ab" * 5000], ids=["", "0", "é", "space", "long"]
)
async def test_forged_tokens(token: str) -> None:
    async with telephony_server("talk") as server, dial(server) as line:
        await send(line, start(token))
        assert await closed(line) in (1002, 1008, 1009)
        assert await server.calls() == 0


@pytest.mark.slow
async def test_a_replayed_token() -> None:
    async with telephony_server() as server:
        caller = await admitted(server)
        async with dial(server) as first:
            await send(first, *caller.opening())
            await server.until_calls(1)
            async with dial(server) as second:
                await send(second, *caller.opening())
                assert await closed(second) == 1008
            assert await server.calls() == 1
        await asyncio.wait_for(server.until_calls(0), 5)
        async with dial(server) as third:  # not even when the first is gone
            await send(third, *caller.opening())
            assert await closed(third) == 1008


async def test_a_token_of_another_call() -> None:
    async with telephony_server() as server, dial(server) as line:
        caller = await admitted(server, "CA1")
        await send(line, *Twilio("CA2", caller.token).opening())
        assert await closed(line) == 1008


async def test_the_refusal_tells_a_stranger_nothing() -> None:
    async with telephony_server() as server, dial(server) as line:
        await send(line, start("0" * 68))
        await closed(line)
        reason = line.close_reason or ""
    assert "token" not in reason
    assert "hmac" not in reason.lower()


@pytest.mark.slow
@pytest.mark.parametrize(
    "message",
    [
        pytest.param("x" * 65_537, id="long"),
        pytest.param(b"\x00" * 65_537, id="long binary"),
        pytest.param(b"\x00" * 320, id="binary"),
        pytest.param("[" * 60_000, id="deep"),
        pytest.param("{" + '"a":{' * 9000, id="deep objects"),
        pytest.param('{"event":' + "9" * 5000 + "}", id="huge number"),
        pytest.param('{"event":"start","start":null}', id="null"),
        pytest.param('{"event":"start","start":{}}', id="empty"),
        pytest.param('{"event":["start"]}', id="list"),
        pytest.param('{"event":"media","media":{"payload":"AAAA"}}', id="media first"),
        pytest.param(start("x", mediaFormat={"encoding": "mp3", "sampleRate": 8000}), id="mp3"),
        pytest.param(
            start("x", mediaFormat={"encoding": "é" * 99, "sampleRate": 8000}), id="two bytes each"
        ),
        pytest.param(
            start("x", mediaFormat={"encoding": "\x1b[2J\n" * 9, "sampleRate": 8000}), id="escapes"
        ),
        pytest.param(
            start("x", mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 10**9}), id="rate"
        ),
        pytest.param(start("x", callSid="C" * 100_000), id="long id"),
        pytest.param(start("x", customParameters={"p" * 9: "v" * 60_000}), id="parameters"),
        pytest.param(
            start("x", customParameters={str(number): "" for number in range(2000)}), id="many"
        ),
        pytest.param(start("x", callSid="\ud800"), id="surrogate"),
    ],
)
async def test_malformed_openings(
    message: ProviderMessage, caplog: pytest.LogCaptureFixture
) -> None:
    async with telephony_server() as server, dial(server) as line:
        await send(line, message)
        assert await closed(line) in (1002, 1008, 1009)
        assert await server.calls() == 0
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
    for record in caplog.records:
        assert len(record.getMessage()) < 500
        assert record.getMessage().isprintable()


async def test_a_message_beyond_all_bounds_is_not_read() -> None:
    async with telephony_server() as server, dial(server) as line:
        await send(line, "x" * (17 << 20))
        assert await closed(line) in (1002, 1009)


@pytest.mark.slow
async def test_a_flood_of_sockets() -> None:
    """Strangers fill the places for opening sockets; the server goes on, and so do its calls."""
    limits = {"max_calls": 8, "max_calls_per_address": 8, "start_seconds": 1.0}
    async with telephony_server(telephony=limits) as server:
        caller = await admitted(server)
        async with dial(server) as line:
            await send(line, *caller.opening())
            await server.until_calls(1)
            tries = await asyncio.gather(*(dial(server) for _ in range(60)), return_exceptions=True)
            idle = [line for line in tries if isinstance(line, ClientConnection)]
            refused = [error for error in tries if isinstance(error, InvalidStatus)]
            assert len(idle) <= 8
            assert len(refused) == 60 - len(idle)
            assert {error.response.status_code for error in refused} == {503}
            assert await server.calls() == 1
            await send(line, caller.sound(QUIET))
            codes = await asyncio.gather(*(closed(stranger) for stranger in idle))
        assert set(codes) == {1008}
        late = await admitted(server, "CA2")
        async with dial(server) as line:  # the places are free again
            await send(line, *late.opening())
            await asyncio.wait_for(server.until_calls(1), 5)


@pytest.mark.parametrize(
    ("provider", "status"),
    [("nobody", 404), ("plivo", 404), ("asterisk", 401), ("twilio/answer", 403), ("..%2fv1", 403)],
)
async def test_other_providers_and_paths(
    provider: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with telephony_server(telephony={"plivo": None}) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(server, provider):
                pass
    assert refused.value.response.status_code == status
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_a_page_in_a_browser_is_no_trusted_program() -> None:
    """Any page may open a socket to this machine; browsers say which page it was."""
    async with telephony_server(telephony={"require_token": False}) as server:
        async with dial(server) as line:
            await send(line, *Twilio("CA1", "").opening())
            await asyncio.wait_for(server.until_calls(1), 5)
        await asyncio.wait_for(server.until_calls(0), 5)
        async with dial(server, origin="https://evil.example") as line:
            await send(line, *Twilio("CA2", "").opening())
            assert await closed(line) == 1008


HEAD = struct.Struct(">BH")
NAME = HEAD.pack(1, 16) + UUID(telephony_providers.UUID).bytes
STRANGER = HEAD.pack(1, 16) + bytes(16)
SOUND = HEAD.pack(0x10, 320) + bytes(320)


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(STRANGER + SOUND, id="another uuid"),
        pytest.param(SOUND, id="sound first"),
        pytest.param(NAME + NAME, id="two names"),
        pytest.param(HEAD.pack(1, 3) + b"abc", id="short name"),
        pytest.param(NAME + SOUND + HEAD.pack(0x10, 3) + b"abc", id="half a sample"),
        pytest.param(NAME + SOUND + HEAD.pack(0x12, 640) + bytes(640), id="another rate"),
        pytest.param(HEAD.pack(0x77, 0) * 100, id="unknown kinds"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 40, id="another protocol"),
        pytest.param(NAME[:7], id="half a frame"),
        pytest.param(HEAD.pack(0x10, 65_535), id="a head alone"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_malformed_audiosockets(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    port = pbx.free_port(socket.SOCK_STREAM)
    telephony = {
        "audiosocket_port": port,
        "audiosocket_uuid": telephony_providers.UUID,
        "start_seconds": 0.3,
    }
    async with telephony_server(telephony=telephony) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)  # up to the end that the server makes
        writer.close()
        await asyncio.wait_for(server.until_calls(0), 5)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
