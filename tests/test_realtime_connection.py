"""The caller over a real websocket, against an agent whose times are known; in real time."""

from __future__ import annotations

import asyncio
import gc
import random

import numpy as np
import pytest
from support.fake_agent import Manner, question
from support.fake_realtime import serving
from websockets.asyncio.server import serve

from agent.errors import CallError
from agent.latency.caller import Caller
from agent.latency.load import LoadTest
from agent.latency.plan import LoadPlan
from agent.latency.realtime import RealtimeConnection, websocket_address

ON_TIME_MS = 8.0
"""A caller that sends its own sound later than this shares its processor with others."""


@pytest.fixture
def no_collection():
    """A whole collection of a test run's heap takes longer than what is measured here."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def errors(delays):
    """How far off each measured delay is, in ms, where the caller itself was on time."""
    rows = []
    async with serving(Manner(delays.__getitem__, reply=0.1)) as url:
        count = len(delays)
        plan = LoadPlan(turns=count, warmup=0, turns_per_call=count)
        await LoadTest(plan, [question(0.2)], lambda: RealtimeConnection(url), rows.append).run()
    assert all(row.error is None for row in rows)
    on_time = [row for row in rows if row.frame_late_ms < ON_TIME_MS]
    if len(on_time) < count / 3:
        pytest.skip("this machine is too busy to keep time")
    return [row.voice_to_voice_ms - 1000 * delays[row.turn - 1] for row in on_time]


@pytest.mark.slow
@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("delay_ms", [0, 50, 137, 800])
async def test_a_known_delay_is_measured_over_a_real_socket(delay_ms):
    off = np.abs(await errors([delay_ms / 1000] * 12))
    assert np.median(off) < ON_TIME_MS + 2
    assert np.quantile(off, 0.99) < 2 * ON_TIME_MS + 4


@pytest.mark.slow
@pytest.mark.usefixtures("no_collection")
async def test_jitter_is_measured_over_a_real_socket():
    drawn = random.Random(2)
    off = np.abs(await errors([drawn.uniform(0.1, 0.6) for _ in range(20)]))
    assert np.median(off) < ON_TIME_MS + 2
    assert np.quantile(off, 0.99) < 2 * ON_TIME_MS + 4


async def test_events_session_and_key_go_over_the_socket():
    seen, told = [], []

    async def endpoint(connection):
        seen.append(connection.request.headers["Authorization"])
        seen.append(await connection.recv())
        await connection.send('{"type": "error", "error": {"message": "no such voice"}}')
        await connection.wait_closed()

    async with serve(endpoint, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        wire = RealtimeConnection(
            f"ws://127.0.0.1:{port}/", key="secret", session={"a": 1}, on_event=told.append
        )
        caller = Caller(wire, reply_timeout=0.05)
        row = None
        async with caller.silence():
            row = await caller.ask(1, question(0.02))
    assert seen == ["Bearer secret", '{"type": "session.update", "session": {"a": 1}}']
    assert [event["type"] for event in told] == ["error"]
    assert row.voice_to_voice_ms is None


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "key"), (403, "not let in"), (429, "too many"), (503, "calls are in use")],
)
async def test_a_refusal_says_what_to_do(status, hint):
    def refuse(connection, request):
        return connection.respond(status, "no\n")

    async with serve(lambda _: asyncio.sleep(0), "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(CallError, match=f"HTTP {status}.*{hint}"):
            await RealtimeConnection(f"ws://127.0.0.1:{port}/").connect()


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://127.0.0.1:8080/", "ws://127.0.0.1:8080/v1/realtime"),
        ("https://voice.example.org", "wss://voice.example.org/v1/realtime"),
        (
            "https://voice.example.org/v1/realtime?model=a",
            "wss://voice.example.org/v1/realtime?model=a",
        ),
        ("localhost:8080", "ws://localhost:8080/v1/realtime"),
        ("[::1]:8080/own", "ws://[::1]:8080/own"),
        ("ws://127.0.0.1:8080/", "ws://127.0.0.1:8080/"),
        ("gopher://127.0.0.1/", "gopher://127.0.0.1/"),
        ("nonsense", "nonsense"),
    ],
)
def test_the_address_of_a_page_is_that_of_its_agent(given, address):
    assert websocket_address(given) == address
