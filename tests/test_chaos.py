"""Many calls while their parts are killed, stopped and slowed: nothing is stuck or lost."""

import asyncio
import json
import random
import sys
from collections import Counter

import httpx
import psutil
import pytest
from support.chaos import FAULTS, MoodyResponder, MoodyTranscriber, Torment, table, torment_process
from test_server import QUESTION, dial, server, until
from test_workers_process import TOML, become, program
from websockets.exceptions import WebSocketException

from tts.remote import RemoteSynthesizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="no such signals"),
]

CALLS, TURNS, AT_ONCE = 200, 3, 20
ROUNDS = 2
"""Deaths of a worker: each takes seconds until the next one is up."""
TYPED = {
    "type": "conversation.item.create",
    "item": {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "how are you"}],
    },
}
TOLD = "conversation.item.input_audio_transcription.failed"


class Caller:
    """The callers of a server, what they ask and what becomes of it."""

    def __init__(self, address, seed):
        self.address = address
        self.draw = random.Random(seed)
        self.asked, self.outcomes = 0, Counter()
        self.line_faults = Counter()

    async def call(self):
        """One call of some turns; a few callers vanish, stop reading, or read slowly."""
        async with dial(self.address) as line:
            await until(line, "session.created")
            for turn in range(TURNS):
                self.asked += 1
                mark = str(turn)
                spoken = self.draw.random() < 0.4
                await (self._speak(line) if spoken else self._type(line, mark))
                if not await self._suffer(line):
                    return
                outcome = await (self._heard(line) if spoken else self._answered(line, mark))
                self.outcomes[outcome] += 1

    async def _speak(self, line):
        await line.send(QUESTION)

    async def _type(self, line, mark):
        await line.send(json.dumps(TYPED))
        response = {"metadata": {"turn": mark}}
        await line.send(json.dumps({"type": "response.create", "response": response}))

    async def _suffer(self, line):
        """Whether the caller is still there."""
        match self.draw.choices([*FAULTS, "well"], [5, 5, 5, 85])[0]:
            case "killed":
                self.line_faults["transport", "killed"] += 1
                line.transport.abort()
                self.outcomes["vanished"] += 1
                return False
            case "stopped":
                self.line_faults["transport", "stopped"] += 1
                await self._read_nothing(line, 0.3)
            case "slowed":
                self.line_faults["transport", "slowed"] += 1
                for _ in range(10):
                    await self._read_nothing(line, 0.03)
                    await asyncio.sleep(0.003)
        return True

    async def _read_nothing(self, line, seconds):
        line.transport.pause_reading()
        await asyncio.sleep(seconds)
        line.transport.resume_reading()

    async def _answered(self, line, mark):
        """The outcome of the reply that was asked for."""
        while True:
            done = (await until(line, "response.done"))[-1]["response"]
            if (done.get("metadata") or {}).get("turn") == mark:
                return done["status"]

    async def _heard(self, line):
        """The outcome of a spoken turn: a reply, or that its words could not be heard."""
        kinds = []
        async for message in line:
            event = json.loads(message)
            kinds.append(event["type"])
            if event["type"] == TOLD:
                return "not heard, and told"
            if event["type"] == "response.done":
                return event["response"]["status"]
        raise AssertionError(f"a spoken turn was lost: {line.close_reason}, after {kinds}")


async def at_once(work, count, most):
    """Do `work` so many times, some at once."""
    slots = asyncio.Semaphore(most)

    async def one():
        async with slots:
            await work()

    async with asyncio.TaskGroup() as calls:
        for _ in range(count):
            calls.create_task(one())


@pytest.mark.long
async def test_nothing_is_stuck_and_nothing_is_lost():
    voice = RemoteSynthesizer("support.tone_worker", first_pause=0.02)
    # As many lines as calls, for that is how many one address may open in a row.
    limits = {"max_calls": CALLS, "within": 300}
    async with server(**limits) as (address, engines), httpx.AsyncClient() as web:
        for name, engine in (
            ("asr", MoodyTranscriber()), ("responder", MoodyResponder()), ("tts", voice)
        ):  # fmt: skip
            object.__setattr__(engines, name, engine)
        torment = Torment(random.Random(7), engines.asr.mood, engines.responder.mood, voice)
        callers = Caller(address, 8)
        tormenting = asyncio.create_task(torment.run())
        try:
            async with asyncio.timeout(240):
                await at_once(callers.call, CALLS, AT_ONCE)
        finally:
            tormenting.cancel()
            await asyncio.gather(tormenting, return_exceptions=True)
        async with asyncio.timeout(30):
            while (await web.get(f"http://{address}/readyz")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while (await web.get(f"http://{address}/readyz")).json()["calls"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            after = Caller(address, 9)
            after._suffer = _well
            await after.call()
    voice.close()
    faults = torment.done + callers.line_faults
    parts = ("recogniser", "responder", "voice", "transport")
    print(f"{CALLS} calls, {callers.asked} turns: {dict(callers.outcomes)}")
    print(table(faults, parts))
    assert sum(callers.outcomes.values()) == callers.asked, "a turn was lost"
    assert set(after.outcomes) == {"completed"}
    assert callers.outcomes["completed"] > callers.asked / 4
    assert all(faults[part, fault] for part in parts for fault in FAULTS), "a fault did not happen"
    assert voice.restarts > 0, "the voice was never killed"


async def _well(line):
    return True


@pytest.mark.long
async def test_calls_outlive_the_workers_that_are_not_theirs(tmp_path):
    outcomes, faults = Counter(), Counter()
    # Without the lines of its log, which nobody reads here: a full pipe would stop the server.
    toml = 'log_level = "error"' + TOML.replace("max_calls = 3", f"max_calls = {CALLS}")
    async with program(tmp_path, toml, within=240) as (running, address, web):

        async def call():
            """A turn of a caller who dials again when his worker dies."""
            for _ in range(20):
                try:
                    async with dial(address, "") as line:  # done when sent, not when heard
                        await until(line, "session.created")
                        await line.send(json.dumps(TYPED))
                        await line.send('{"type": "response.create"}')
                        done = (await until(line, "response.done"))[-1]["response"]
                        outcomes[done["status"]] += 1
                        return
                except (WebSocketException, OSError, AssertionError) as lost:
                    outcomes[f"dialled again: {type(lost).__name__}"] += 1
                await asyncio.sleep(0.2)
            outcomes["given up"] += 1

        async def torment():
            draw = random.Random(5)
            for fault in FAULTS * ROUNDS:
                await become(web, workers=2)
                worker = draw.choice(psutil.Process(running.pid).children())
                await torment_process(worker.pid, fault, 1.0)
                faults["worker", fault] += 1
                await asyncio.sleep(0.2)

        tormenting = asyncio.create_task(torment())
        try:
            async with asyncio.timeout(220):
                await at_once(call, CALLS, 8)
                await tormenting
        finally:
            tormenting.cancel()
            await asyncio.gather(tormenting, return_exceptions=True)
            print(dict(outcomes))
            print(table(faults, ["worker"]))
        await become(web, workers=2, calls=0, status="ready")
        await call()
    assert not outcomes["given up"]
    assert outcomes["completed"] >= CALLS
