"""What a call that was let in can do to the server: end itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import socket

import numpy as np
import pytest
from support import telephony_providers
from support.fakes import silence
from support.telephony_providers import (
    TelephonyServer,
    admitted,
    closed,
    dial,
    send,
    start,
    telephony_server,
)
from websockets.asyncio.client import ClientConnection
from websockets.frames import OP_PING, Frame
from websockets.http11 import Request

from agent.telephony.check.fake_providers import (
    Exotel,
    Plivo,
    ProviderMessage,
    Twilio,
    asterisk,
    jambonz,
    vonage,
)
from agent.telephony.dialects.registry import DIALECTS
from agent.telephony.media.connection import AudioSocketConnection
from agent.telephony.media.websocket import MediaAwareProtocol
from agent.transports.base import Disconnected

RATE = 8000
MASKED_PING = Frame(OP_PING, b"x" * 120).serialize(mask=True)
QUIET = silence(0.02, RATE)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param('{"event":"media","media":{"payload":"?"}}', id="no base64"),
        pytest.param('{"event":"media","media":{"payload":7}}', id="number"),
        pytest.param('{"event":"media"}', id="no media"),
        pytest.param('{"event":"media","media":{"payload":"AAAA","timestamp":"-1"}}', id="time"),
        pytest.param(
            '{"event":"media","media":{"payload":"AAAA","timestamp":1%s}}' % ("0" * 400),
            id="a time that is no float",
        ),
        pytest.param('{"event":"dtmf","dtmf":{"digit":{}}}', id="key"),
        pytest.param('{"event":"mark"}', id="mark"),
        pytest.param(start("x"), id="second start"),
        pytest.param(b"\xff\xfe", id="binary"),
        pytest.param("no json", id="no json"),
    ],
)
async def test_malformed_messages_end_the_call_and_nothing_else(
    message: ProviderMessage, caplog: pytest.LogCaptureFixture
) -> None:
    async with telephony_server() as server:
        caller = await admitted(server)
        async with dial(server) as line:
            await send(line, *caller.opening(), caller.sound(QUIET), message)
            assert await closed(line) == 1002
        await asyncio.wait_for(server.until_calls(0), 5)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("at", ["40", 40, 40.0, None], ids=repr)
async def test_numbers_come_in_every_form_that_encoders_give_them(at: object) -> None:
    media = {"payload": "AAAA", "timestamp": at}
    async with telephony_server() as server:
        caller = await admitted(server)
        async with dial(server) as line:
            await send(line, *caller.opening(), json.dumps({"event": "media", "media": media}))
            await send(line, caller.key("1"), caller.key("#"))
            await asyncio.wait_for(_first_sound(line, caller), 5)  # the call goes on


async def test_sound_far_faster_than_real_time_ends_the_call() -> None:
    async with telephony_server("talk") as server:
        caller = await admitted(server)
        payload = caller.sound(np.zeros(RATE * 5, np.float32))
        async with dial(server) as line:
            await send(line, *caller.opening(), *[payload] * 40)
            await closed(line, 10.0)
        await asyncio.wait_for(server.until_calls(0), 5)


@pytest.mark.slow
async def test_a_storm_of_keys_and_marks() -> None:
    """Thousands of keys are a few messages; marks that were never set are nothing."""
    mark = '{"event":"mark","streamSid":"MZ0","mark":{"name":"%d"}}'
    async with telephony_server(script=lambda said: "yes") as server:
        caller = await admitted(server)
        async with dial(server) as line:
            await send(line, *caller.opening())
            await send(line, *(mark % number for number in range(2000)))
            await send(line, *(caller.key("7") for _ in range(2000)))
            await send(line, caller.sound(QUIET))
            await server.until_calls(1)
        await asyncio.wait_for(server.until_calls(0), 10)
        async with dial(server) as line:
            await send(line, *(await admitted(server, "CA2")).opening())
            await asyncio.wait_for(server.until_calls(1), 5)


class _Narrow(MediaAwareProtocol):
    """The server's end of a connection that holds little before the server notices."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        assert isinstance(transport, asyncio.WriteTransport)
        transport.set_write_buffer_limits(1024)
        super().connection_made(transport)


async def deaf(server: TelephonyServer) -> ClientConnection:
    """A connection whose end here never reads."""
    host, port = server.address.split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    line: ClientConnection = await dial(server, sock=sock)
    line.transport.pause_reading()
    return line


class _Impatient(_Narrow):
    """It pings at once and waits for the answer for a moment only."""

    def handle_connect(self, event: Request) -> None:
        self.ping_interval = self.ping_timeout = 0.5
        super().handle_connect(event)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "send_seconds"),
    [pytest.param(_Narrow, 0.2, id="by a send"), pytest.param(_Impatient, 60.0, id="by a ping")],
)
async def test_a_peer_that_never_reads_is_let_go(
    protocol: type[MediaAwareProtocol], send_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.server.http_server.MediaAwareProtocol", protocol)
    monkeypatch.setattr("agent.telephony.media.connection.SEND_SECONDS", send_seconds)
    async with telephony_server(script=lambda said: "word " * 200) as server:
        caller = await admitted(server)
        line = await deaf(server)
        await send(line, *caller.opening(), caller.key("1"), caller.key("#"))
        await asyncio.wait_for(server.until_calls(1), 5)
        await asyncio.wait_for(server.until_calls(0), 8)
        line.transport.resume_reading()
        assert await closed(line) == 1006  # dropped without a close frame


async def test_an_audiosocket_whose_peer_never_reads_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.telephony.media.connection.SEND_SECONDS", 0.1)
    lines: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = AudioSocketConnection(reader, writer)
        with contextlib.suppress(Disconnected):
            while True:
                await line.send(bytes(65_536))
        await line.close(1000, "")
        lines.put_nowait(writer)

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with socket.create_connection((host, port)):
            writer = await asyncio.wait_for(lines.get(), 5)
            await asyncio.wait_for(writer.wait_closed(), 5)


@pytest.mark.slow
async def test_pings_whose_answers_nobody_reads_do_not_pile_up() -> None:
    """A stranger's, even."""
    async with telephony_server() as server:
        line = await deaf(server)
        for _ in range(200_000):  # 25 MB, if they were all answered
            if line.transport.is_closing():
                break
            line.transport.write(MASKED_PING)
            if line.transport.get_write_buffer_size() > 65_536:
                await asyncio.sleep(0)
        assert line.transport.is_closing()
        line.transport.abort()


# Telnyx alone can sign its webhook, so that no token of its own can be had here.
@pytest.mark.slow
@pytest.mark.parametrize("provider", sorted(DIALECTS.keys() - {"telnyx"}))
@pytest.mark.parametrize(
    "message",
    [
        pytest.param("", id="empty"),
        pytest.param(b"", id="empty binary"),
        pytest.param(b"\x00", id="half a sample"),
        pytest.param(b"\xff" * 65_536, id="large binary"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="list"),
        pytest.param('{"event":null,"type":null,"command":1}', id="no kind"),
        pytest.param('{"event":"\\ud800","type":"\\ud800"}', id="surrogate"),
        pytest.param("MEDIA_MARK_PROCESSED " + "x" * 60_000, id="long name"),
        pytest.param('{"event":"dtmf","dtmf":{"digit":"\\ud800"},"digit":"\\ud800"}', id="key"),
        pytest.param(
            f'{{"event":"media","media":{{"payload":"","chunk":{10**30},"timestamp":{10**30}}}}}',
            id="huge numbers",
        ),
    ],
)
async def test_no_dialect_is_broken_by_a_message(
    provider: str, message: ProviderMessage, caplog: pytest.LogCaptureFixture
) -> None:
    async with telephony_server() as server:
        opening, headers = await _opening(server, provider)
        async with dial(server, provider, additional_headers=headers) as line:
            await send(line, *opening)
            await asyncio.wait_for(server.until_calls(1), 5)
            await send(line, message, message)
        await asyncio.wait_for(server.until_calls(0), 5)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def _opening(
    server: TelephonyServer, provider: str
) -> tuple[list[ProviderMessage], dict[str, str]]:
    if provider == "asterisk":
        login = base64.b64encode(f"agent:{telephony_providers.SECRET}".encode()).decode()
        return asterisk("CA1").opening(), {"Authorization": f"Basic {login}"}
    token = (await server.ask(provider, "CA1")).token
    makers = {"exotel": Exotel, "plivo": Plivo, "vonage": vonage, "jambonz": jambonz}
    return makers.get(provider, Twilio)("CA1", token).opening(), {}


async def test_a_vanished_peer_frees_its_line() -> None:
    async with telephony_server() as server:
        caller = await admitted(server)
        line = await dial(server)
        await send(line, *caller.opening())
        await server.until_calls(1)
        line.transport.abort()
        await asyncio.wait_for(server.until_calls(0), 5)


async def test_nothing_secret_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "onebreath")
    async with telephony_server(script=lambda said: "yes") as server:
        caller = await admitted(server)
        async with dial(server) as line:
            await send(line, *caller.opening(), *map(caller.key, "8675309#"))
            await asyncio.wait_for(_first_sound(line, caller), 5)
        async with dial(server) as line:
            await send(line, *caller.opening())
            await closed(line)
    ours = [record for record in caplog.records if record.name.startswith("onebreath")]
    text = "\n".join(record.getMessage() for record in ours)
    assert "used before" in text  # the log does work
    for secret in (caller.token, "8675309", "8 6 7 5 3 0 9"):
        assert secret not in text


async def _first_sound(line: ClientConnection, caller: Twilio) -> None:
    async for message in line:
        if len(caller.audio_of(message)):
            return
