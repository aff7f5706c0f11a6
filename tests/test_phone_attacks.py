"""What a call that was let in can do to the server: end itself."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest
from fakes import silence
from phones import admitted, closed, dial, phone_server, send, start
from websockets.asyncio.client import ClientConnection

from agent.telephony.providers import Message, Twilio

RATE = 8000
QUIET = silence(0.02, RATE)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param('{"event":"media","media":{"payload":"?"}}', id="no base64"),
        pytest.param('{"event":"media","media":{"payload":7}}', id="number"),
        pytest.param('{"event":"media"}', id="no media"),
        pytest.param('{"event":"media","media":{"payload":"AAAA","timestamp":"-1"}}', id="time"),
        pytest.param('{"event":"dtmf","dtmf":{"digit":{}}}', id="key"),
        pytest.param('{"event":"mark"}', id="mark"),
        pytest.param(start("x"), id="second start"),
        pytest.param(b"\xff\xfe", id="binary"),
        pytest.param("no json", id="no json"),
    ],
)
async def test_malformed_messages_end_the_call_and_nothing_else(
    message: Message, caplog: pytest.LogCaptureFixture
) -> None:
    async with phone_server() as server:
        caller = await admitted(server)
        async with dial(server) as line:
            await send(line, *caller.opening(), caller.sound(QUIET), message)
            assert await closed(line) == 1002
        await asyncio.wait_for(server.until_calls(0), 5)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_sound_far_faster_than_real_time_ends_the_call() -> None:
    async with phone_server("talk") as server:
        caller = await admitted(server)
        payload = caller.sound(np.zeros(RATE * 5, np.float32))
        async with dial(server) as line:
            await send(line, *caller.opening(), *[payload] * 40)
            await closed(line, 10.0)
        await asyncio.wait_for(server.until_calls(0), 5)


async def test_a_storm_of_keys_and_marks() -> None:
    """Thousands of keys are a few messages; marks that were never set are nothing."""
    mark = '{"event":"mark","streamSid":"MZ0","mark":{"name":"%d"}}'
    async with phone_server(script=lambda said: "yes") as server:
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


async def test_a_vanished_peer_frees_its_line() -> None:
    async with phone_server() as server:
        caller = await admitted(server)
        line = await dial(server)
        await send(line, *caller.opening())
        await server.until_calls(1)
        line.transport.abort()
        await asyncio.wait_for(server.until_calls(0), 5)


async def test_nothing_secret_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "onebreath")
    async with phone_server(script=lambda said: "yes") as server:
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
        if len(caller.heard(message)):
            return
