"""Many calls while their parts are killed, stopped and slowed: nothing is stuck or lost."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys

import httpx
import pytest
from test_server import dial, server, until

from tts.remote import RemoteSynthesizer

CALLS, TURNS = 12, 5
QUESTION = {
    "type": "conversation.item.create",
    "item": {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "how are you"}],
    },
}


async def caller(address, draw, outcomes):
    """One call of some turns; a few callers hang up, or vanish, in the middle of a reply."""
    async with dial(address) as line:
        await until(line, "session.created")
        for _ in range(TURNS):
            await line.send(json.dumps(QUESTION))
            await line.send('{"type": "response.create"}')
            if draw.random() < 0.1:
                line.transport.abort()
                outcomes.append("vanished")
                return
            done = (await until(line, "response.done"))[-1]["response"]
            outcomes.append(done["status"])


async def torment(voice, engines, draw):
    """Kill or stop the voice, or break the responder, at random."""
    while True:
        await asyncio.sleep(draw.uniform(0.02, 0.15))
        with contextlib.suppress(ProcessLookupError):
            match draw.randrange(4):
                case 0:
                    os.kill(voice.pid, signal.SIGKILL)
                case 1:
                    stopped = voice.pid
                    os.kill(stopped, signal.SIGSTOP)
                    try:
                        await asyncio.sleep(0.2)
                    finally:
                        os.kill(stopped, signal.SIGCONT)
                case 2:
                    engines.responder._script = broken
                    await asyncio.sleep(0.05)
                case _:
                    engines.responder._script = {"how are you": "Fine, thanks."}


def broken(words):
    raise RuntimeError("a bug")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
async def test_nothing_is_stuck_and_nothing_is_lost():
    draw, outcomes = random.Random(7), []
    voice = RemoteSynthesizer("support.tone_worker", first_pause=0.02)
    async with server(max_calls=CALLS) as (address, engines), httpx.AsyncClient() as web:
        object.__setattr__(engines, "tts", voice)
        tormenting = asyncio.create_task(torment(voice, engines, draw))
        try:
            async with asyncio.timeout(60), asyncio.TaskGroup() as calls:
                for _ in range(CALLS):
                    calls.create_task(caller(address, draw, outcomes))
        finally:
            tormenting.cancel()
        engines.responder._script = {"how are you": "Fine, thanks."}
        after = []
        async with asyncio.timeout(20):
            while (await web.get(f"http://{address}/readyz")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while (await web.get(f"http://{address}/readyz")).json()["calls"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await caller(address, random.Random(1), after)
    voice.close()
    gone = outcomes.count("vanished")
    print(f"{len(outcomes)} turns, {outcomes.count('failed')} failed, {gone} callers vanished")
    assert len(outcomes) >= CALLS * TURNS - gone * (TURNS - 1)
    assert "completed" in outcomes
    assert voice.restarts > 0, "the voice was never killed"
    assert set(after) == {"completed"}
