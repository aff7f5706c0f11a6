"""What may happen at the moment in which a session goes on over another connection."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.webrtc_calls import Ear, agent, lines_in_use, until_free
from test_resumption import RESUMABLE, ask, back, cut, refused, rtc, token_of
from test_server import close_code, dial, server, until
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.close_codes import RESUMED_ELSEWHERE
from agent.errors import CallError
from agent.runtime.calls import CallRegistry
from agent.session.connection import Connection, ConnectionAction, ConnectionEvent, ConnectionState


@pytest.mark.slow
async def test_two_at_once_over_two_transports_are_one_session_in_the_end():
    async with agent() as (url, _):
        address = url.removeprefix("http://")
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            cut(line)
        lines = []
        offered = rtc(url, f"?onebreath=1&resume={token}")

        async def by_socket():
            line = await back(address, token)
            await until(line, "session.created")
            lines.append(line)

        try:
            came = await asyncio.gather(offered.connect(), by_socket(), return_exceptions=True)
            won = [each for each in came if each is None]
            lost = [each for each in came if each is not None]
            assert len(won) == 1, came
            assert all(
                isinstance(each, InvalidStatus | CallError | ConnectionClosed) for each in lost
            )
            assert await lines_in_use(url) == 1
        finally:
            await offered.close()
            for line in lines:
                await line.close()


@pytest.mark.slow
async def test_there_and_back_within_one_reply():
    ear = Ear()
    async with agent() as (url, _):
        address = url.removeprefix("http://")
        first = rtc(url, RESUMABLE)
        await first.connect()
        token = (await first.until("onebreath.session.resumable"))[-1]["token"]
        content = [{"type": "input_text", "text": "talk"}]
        item = {"type": "message", "role": "user", "content": content}
        first.send("conversation.item.create", item=item)
        first.send("response.create")
        await first.until("output_audio_buffer.started")
        async with back(address, token) as line:
            token = await token_of(line)
            await until(line, "response.output_audio.delta")
            third = rtc(url, f"?onebreath=1&resume={token}", ear)
            try:
                await third.connect()
                await third.until("output_audio_buffer.started")
                await ear.heard(0.2)
                assert await close_code(line) == RESUMED_ELSEWHERE
                assert await lines_in_use(url) == 1
            finally:
                await third.close()
                await first.close()


@pytest.mark.slow
async def test_a_hang_up_while_the_next_connection_comes_is_the_end_or_comes_too_late():
    """Whichever is first; the session is never left behind without a client."""
    async with server() as (address, _):
        for _ in range(5):
            line = await dial(address, RESUMABLE)
            token = await token_of(line)

            async def come(token=token):
                async with back(address, token) as another:
                    return (await until(another, "session.created"))[-1]["resumed"]

            came, _ = await asyncio.gather(come(), line.close(1000), return_exceptions=True)
            assert came is True or isinstance(came, InvalidStatus | ConnectionClosed)
        await until_free(f"http://{address}")


@pytest.mark.slow
async def test_a_session_is_gone_on_with_while_the_server_drains(monkeypatch):
    made = []
    init = CallRegistry.__init__

    def remembered(registry, *args, **settings):
        init(registry, *args, **settings)
        made.append(registry)

    monkeypatch.setattr(CallRegistry, "__init__", remembered)
    async with server() as (address, _):
        (calls,) = made
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            draining = asyncio.create_task(calls.drain(600.0))
            await asyncio.sleep(0)
            assert calls.draining
            cut(line)
        async with back(address, token) as line:
            await until(line, "session.created")
            await ask(line, "how are you")
            done = (await until(line, "response.done"))[-1]
            assert done["response"]["status"] == "completed"
            async with dial(address, RESUMABLE) as other:
                assert json.loads(await other.recv())["error"]["code"] == "server_stopping"
            await line.close(1000)
        await asyncio.wait_for(draining, 20)
        assert (await refused(address, token))[0] == 404


def test_who_comes_at_the_deadline_comes_in_time_unless_it_was_seen_to_pass():
    early = Connection(30.0)
    early.take(ConnectionEvent.LOST, 100.0, 100.0)
    assert early.take(ConnectionEvent.RESUMED, 130.0, 130.0) is ConnectionAction.GO_ON
    assert early.expire(130.0) is ConnectionAction.NOTHING
    late = Connection(30.0)
    late.take(ConnectionEvent.LOST, 100.0, 100.0)
    assert late.expire(130.0) is ConnectionAction.END
    assert late.take(ConnectionEvent.RESUMED, 130.0, 130.0) is ConnectionAction.NOTHING
    assert late.state is ConnectionState.OVER


@pytest.mark.slow
async def test_a_session_keeps_its_lighter_format_and_says_so():
    async with server() as (address, _):
        light = {"format": {"type": "audio/pcmu"}}
        async with dial(address, RESUMABLE) as line:
            token = await token_of(line)
            session = {"type": "realtime", "audio": {"input": light, "output": light}}
            await line.send(json.dumps({"type": "session.update", "session": session}))
            await until(line, "session.updated")
            cut(line)
        async with back(address, token) as line:
            audio = (await until(line, "session.created"))[-1]["session"]["audio"]
            assert audio["input"]["format"]["type"] == "audio/pcmu"
            assert audio["output"]["format"]["type"] == "audio/pcmu"
