"""The log lines of a call's end tell an operator how it ended, and whose call it was."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from support.fakes import silence
from support.telephony_providers import TelephonyServer, admitted, dial, send, telephony_server
from support.webrtc_calls import HERE
from support.webrtc_calls import call as rtc_call
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent.responders.base import ResponderError
from agent.runtime.calls import CallRegistry
from agent.runtime.logs import ConsoleFormatter, JsonFormatter, current_call

QUIET = silence(0.02, 8000)


@asynccontextmanager
async def up(**settings: Any) -> AsyncIterator[TelephonyServer]:
    async with telephony_server(
        script=lambda said: "yes", webrtc={"ice_hosts": HERE}, **settings
    ) as server:
        yield server


async def realtime(server: TelephonyServer) -> ClientConnection:
    line = await connect(f"ws://{server.address}/v1/realtime", compression=None)
    await line.recv()
    return line


async def twilio(server: TelephonyServer) -> tuple[Any, ClientConnection]:
    caller = await admitted(server)
    line = await dial(server)
    await send(line, *caller.opening(), caller.sound(QUIET))
    await server.until_calls(1)
    return caller, line


def lines(caplog: pytest.LogCaptureFixture, what: str) -> list[dict[str, Any]]:
    return [record.fields for record in caplog.records if record.getMessage() == what]  # type: ignore[attr-defined]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    for name in ("onebreath", "onebreath.calls"):  # which commands in other tests make quiet
        caplog.set_level(logging.INFO, name)
    return caplog


async def leave(line: ClientConnection) -> None:
    await line.close()


async def go_away(line: ClientConnection) -> None:
    await line.close(1001)


async def shout(line: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        await line.send("x" * (17 << 20))


async def vanish(line: ClientConnection) -> None:
    line.transport.abort()


@pytest.mark.parametrize(
    ("how", "outcome", "reason"),
    [
        (leave, "completed", "the client hung up"),
        (vanish, "disconnected", "the connection was lost"),
        (go_away, "disconnected", "the connection was lost (1001)"),
        (shout, "disconnected", "the connection was lost (1009)"),
    ],
)
async def test_a_hang_up_and_a_loss_of_a_websocket(
    how: Any, outcome: str, reason: str, told: pytest.LogCaptureFixture
) -> None:
    async with up() as server:
        line = await realtime(server)
        await how(line)
        await asyncio.wait_for(server.until_calls(0), 5)
    (ended,) = lines(told, "call ended")
    assert (ended["outcome"], ended["reason"], ended["kind"]) == (outcome, reason, "websocket")


async def test_a_client_that_says_nothing(told: pytest.LogCaptureFixture) -> None:
    async with up(server={"idle_seconds": 0.2}) as server:
        await realtime(server)
        await asyncio.wait_for(server.until_calls(0), 5)
    (ended,) = lines(told, "call ended")
    assert (ended["outcome"], ended["reason"]) == ("disconnected", "nothing was received for 0 s")


async def test_a_webrtc_call_whose_client_is_gone(told: pytest.LogCaptureFixture) -> None:
    async with up() as server:
        async with rtc_call(f"http://{server.address}"):
            pass
        await asyncio.wait_for(server.until_calls(0), 5)
    (ended,) = lines(told, "call ended")
    assert (ended["outcome"], ended["reason"]) == ("disconnected", "the connection was lost")


@pytest.mark.parametrize(
    ("last", "outcome", "code", "reason"),
    [
        ('{"event":"stop"}', "completed", 1000, "the client hung up"),
        ("{{{", "ended", 1002, "a message that is not JSON"),
        (None, "disconnected", 1000, "the connection was lost"),
        ("sound", "ended", 1008, "more sound than time has passed"),
    ],
    ids=["stop", "garbage", "lost", "sound"],
)
async def test_the_ends_of_a_telephone_call(
    last: str | None, outcome: str, code: int, reason: str, told: pytest.LogCaptureFixture
) -> None:
    async with up() as server:
        caller, line = await twilio(server)
        if last == "sound":
            await send(line, *[caller.sound(np.zeros(40_000, np.float32))] * 14)
        elif last is None:
            line.transport.abort()
        else:
            await send(line, last)
        await asyncio.wait_for(server.until_calls(0), 5)
    (ended,) = lines(told, "call ended")
    assert (ended["outcome"], ended["code"]) == (outcome, code)
    assert reason in ended["reason"]
    (started,) = lines(told, "call started")
    assert (started["address"], started["provider_call"]) == ("127.0.0.1", "CA1")


async def test_a_silent_provider_is_dead(
    told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.telephony.media.transport.SILENT_SECONDS", 0.2)
    async with up() as server:
        await twilio(server)
        await asyncio.wait_for(server.until_calls(0), 5)
    (ended,) = lines(told, "call ended")
    assert ended["outcome"] == "disconnected"
    assert "the peer is dead" in ended["reason"]


async def test_a_call_that_the_server_says_goodbye_in(told: pytest.LogCaptureFixture) -> None:
    async with up() as server:
        line = await realtime(server)
        for leaver in _leavers():
            leaver("the server is being stopped")
        async for _ in line:
            pass
        await asyncio.wait_for(server.until_calls(0), 5)
    (ended,) = lines(told, "call ended")
    assert (ended["outcome"], ended["reason"]) == ("ended", "the server is being stopped")


async def test_a_webrtc_call_that_the_server_says_goodbye_in(
    told: pytest.LogCaptureFixture,
) -> None:
    async with up() as server, rtc_call(f"http://{server.address}"):
        for leaver in _leavers():
            leaver("the server is being stopped")
        await asyncio.wait_for(server.until_calls(0), 5)
    (ended,) = lines(told, "call ended")
    assert (ended["outcome"], ended["reason"]) == ("ended", "the server is being stopped")


def _leavers() -> list[Any]:
    """How the running calls are asked to leave, by their servers."""
    registries = [each for each in gc.get_objects() if type(each) is CallRegistry]
    return [leave for each in registries for leave in each.leavers]


async def test_a_failed_reply_and_its_cause_without_a_services_own_words(
    told: pytest.LogCaptureFixture,
) -> None:
    def fails(said: str) -> str:
        raise ResponderError("http://up is out of order (503, 3 tries)", "you said: my pin is 12")

    async with telephony_server(script=fails) as server:
        line = await realtime(server)
        content = [{"type": "input_text", "text": "hello"}]
        item = {"type": "message", "role": "user", "content": content}
        await line.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await line.send('{"type":"response.create"}')
        async for message in line:
            if json.loads(message)["type"] == "response.done":
                break
        await line.close()
        await asyncio.wait_for(server.until_calls(0), 5)
    failed = lines(told, "turn")[0]
    assert (failed["status"], failed["error"]) == ("failed", "responder_failed")
    warning = "the responder failed: http://up is out of order (503, 3 tries)"
    assert warning in [record.getMessage() for record in told.records]
    assert "my pin" not in told.text


async def test_a_call_that_finds_no_line_is_told_of(told: pytest.LogCaptureFixture) -> None:
    async with up(server={"max_calls": 1}) as server:
        line = await realtime(server)
        other = await connect(f"ws://{server.address}/v1/realtime", compression=None)
        assert json.loads(await other.recv())["error"]["code"] == "server_full"
        await line.close()
    (refused,) = lines(told, "call refused")
    assert (refused["code"], refused["address"]) == ("server_full", "127.0.0.1")


def test_a_plain_line_tells_its_call() -> None:
    record = logging.makeLogRecord({"msg": "the voice failed"})
    assert ConsoleFormatter().format(record) == "the voice failed"
    token = current_call.set("ws_1")
    try:
        assert ConsoleFormatter().format(record) == "the voice failed call=ws_1"
        assert json.loads(JsonFormatter().format(record))["call"] == "ws_1"
    finally:
        current_call.reset(token)
