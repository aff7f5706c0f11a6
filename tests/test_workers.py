"""The parent of several processes: who gets a connection, deaths, signals, merged health."""

import asyncio
import itertools
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from agent.config.settings import Settings
from agent.runtime import engines
from agent.server.ports import listen
from agent.server.workers.backoff import LONGEST, STEADY, Backoff
from agent.server.workers.dispatch import SETTLING, SILENT, WorkerState, ranked
from agent.server.workers.merged_health import MergedHealth
from agent.server.workers.plan import HTTP, WorkerPlan, read_plan, send_plan
from agent.server.workers.supervisor import Ports, Supervisor, Waits

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets")

FAKE = Path(__file__).parent / "support" / "fake_worker.py"

# ---- who gets the next connection ----------------------------------------------------------


def order(*workers, now=0.0):
    return [worker.index for worker in ranked(workers, now)]


def test_the_least_loaded_worker_that_is_ready_comes_first():
    full = WorkerState(2, calls=0, status="full")
    assert order(WorkerState(0, calls=2), WorkerState(1, calls=1), full) == [1, 0, 2]


def test_connections_count_until_their_worker_has_told_of_calls():
    first, second = WorkerState(0), WorkerState(1)
    first.handed.append(0.0)
    assert order(first, second, now=0.5) == [1, 0]
    assert order(first, second, now=SETTLING + 0.5) == [0, 1]


def test_a_silent_worker_comes_last_even_behind_a_full_one():
    silent, full = WorkerState(0), WorkerState(1, status="full", heard=SILENT + 1)
    assert order(silent, full, now=SILENT + 1) == [1, 0]


def test_waits_grow_to_a_bound_and_begin_anew_after_a_steady_time():
    backoff = Backoff()
    waits = [backoff.after(1.0) for _ in range(10)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST
    assert backoff.after(STEADY) == 0.5


def test_the_processes_of_a_server_divide_the_cores(monkeypatch):
    monkeypatch.setattr(engines, "cores", lambda: 8)
    assert engines.thread_plan(Settings(server={"workers": 4})).responder == 2
    assert engines.thread_plan(Settings(server={"workers": 64})).responder == 1


def test_a_plan_arrives_as_it_was_sent(tmp_path):
    ours, theirs = socket.socketpair()
    plan = WorkerPlan(Settings(server={"shared_key": "k" * 32}), 3, tmp_path, b"key")
    with ours, theirs:
        send_plan(ours, plan)
        assert read_plan(theirs) == plan


# ---- a parent with workers that have no engines --------------------------------------------


class Parent:
    """A supervisor of fake workers; their names are 0, 1, ... in the order of their starts."""

    def __init__(self, folder, modes, count, **waits):
        self.sock = listen("127.0.0.1", 0)
        self.health = listen("127.0.0.1", 0)
        self.names = itertools.count()
        self.modes = modes
        self.starts = []
        (folder / "metrics").mkdir()
        plans = [WorkerPlan(Settings(), index, folder, b"k") for index in range(count)]
        health = MergedHealth(count, lambda: self.supervisor.serving(), folder / "metrics")
        quick = {"drain": 0.2, "end": 0.2, "look": 0.05, "backoff": lambda: Backoff(0.01)}
        self.ready = asyncio.Event()
        self.supervisor = Supervisor(
            plans,
            self.command,
            Ports({HTTP: self.sock}, self.health),
            Waits(**{**quick, **waits}),
            {},
            health,
            self.ready.set,
        )

    def command(self, channel):
        name = next(self.names)
        self.starts.append(name)
        mode = self.modes[name] if name < len(self.modes) else "serve"
        return [sys.executable, "-S", str(FAKE), str(channel), str(name), mode]

    async def ask(self, what=b"hello"):
        """(name of the worker that answered, settings that it read again).

        Raises:
            ConnectionResetError: the worker died before it answered.
        """
        reader, writer = await asyncio.open_connection(*self.sock.getsockname())
        writer.write(what)
        answer = (await reader.read(64)).decode().split()
        writer.close()
        if not answer:
            raise ConnectionResetError
        return tuple(int(word) for word in answer)

    async def get(self, path):
        async with httpx.AsyncClient() as web:
            return await web.get("http://{}:{}{}".format(*self.health.getsockname(), path))

    async def serving(self, count):
        while len(self.supervisor.serving()) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def parent(tmp_path, *modes, count=2, **waits):
    made = Parent(tmp_path, modes, count, **waits)
    running = asyncio.create_task(made.supervisor.run())
    try:
        async with asyncio.timeout(30):
            waiting = asyncio.create_task(made.ready.wait())
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            made.running = running
            yield made
            if not running.done():
                made.supervisor.stop(signal.SIGINT)
            await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        made.sock.close()


async def test_connections_are_spread_over_the_workers(tmp_path):
    async with parent(tmp_path) as server:
        await server.serving(2)
        answers = [await server.ask() for _ in range(4)]
        assert sorted(name for name, _ in answers) == [0, 0, 1, 1]
        ready = (await server.get("/readyz")).json()
        assert [row["worker"] for row in ready["workers"]] == [0, 1]


@pytest.mark.slow
async def test_the_log_tells_how_many_calls_a_dead_worker_took_with_it(tmp_path, caplog):
    async with parent(tmp_path, count=1) as server:
        await server.ask(b"call")
        while not server.supervisor.serving()[0].calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await server.ask(b"die")
        while len(server.starts) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert "worker 0 ended (exit code 3), and with it 1 calls" in caplog.text


@pytest.mark.slow
async def test_a_worker_that_dies_is_started_again_and_counted(tmp_path):
    async with parent(tmp_path) as server:
        await server.serving(2)
        died, _ = await server.ask(b"die")
        while len(server.starts) < 3:
            with suppress(ConnectionResetError):  # handed over before its death was noticed
                answered, _ = await server.ask()  # meanwhile the other one answers
                assert answered != died
        await server.serving(2)
        text = (await server.get("/metrics")).text
        assert f'onebreath_worker_deaths_total{{worker="{died}"}} 1.0' in text
        assert "onebreath_workers 2.0" in text


async def test_a_mistake_of_the_user_ends_all_after_one_start(tmp_path):
    async with parent(tmp_path, "mistake", count=3) as server:
        assert await server.running == 2
        assert server.starts == [0]


@pytest.mark.slow
async def test_a_mistake_at_a_later_start_leaves_the_others_serving(tmp_path):
    async with parent(tmp_path, "serve", "serve", "mistake") as server:
        await server.serving(2)
        await server.ask(b"die")
        while len(server.starts) < 4:
            with suppress(ConnectionResetError):
                await server.ask()
        await server.serving(2)


@pytest.mark.slow
async def test_sigterm_is_passed_on_and_all_end_with_0(tmp_path):
    async with parent(tmp_path) as server:
        await server.serving(2)
        server.supervisor.stop(signal.SIGTERM)
        assert await server.running == 0


@pytest.mark.slow
async def test_the_second_signal_makes_the_exit_code(tmp_path):
    async with parent(tmp_path, "stubborn", "stubborn") as server:
        await server.serving(2)
        server.supervisor.stop(signal.SIGTERM)
        answer = await server.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        server.supervisor.stop(signal.SIGTERM)
        assert await server.running == 143


@pytest.mark.slow
async def test_a_worker_that_does_not_end_in_time_is_killed(tmp_path):
    async with parent(tmp_path, "stubborn") as server:
        await server.serving(2)
        server.supervisor.stop(signal.SIGTERM)
        assert await server.running == 1


@pytest.mark.slow
async def test_sighup_reaches_all_workers_and_kills_none(tmp_path):
    async with parent(tmp_path) as server:
        server.supervisor.reload()  # the second worker is only being started
        await server.serving(2)
        seen = {}
        while len(seen) < 2 or set(seen.values()) != {1}:
            name, reloads = await server.ask()
            seen[name] = reloads
        assert server.starts == [0, 1]


@pytest.mark.slow
async def test_a_worker_that_hangs_is_killed_and_started_again(tmp_path):
    async with parent(tmp_path, "silent", count=1, hung=0.3) as server:
        while len(server.starts) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_readiness_fails_while_no_worker_serves(tmp_path):
    health = MergedHealth(2, lambda: [], tmp_path)
    transport = httpx.ASGITransport(health.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as web:
        assert (await web.get("/healthz")).status_code == 200
        answer = await web.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "starting")


async def test_readiness_tells_why_when_no_worker_takes_calls(tmp_path):
    states = [WorkerState(0, 1, 2, "full", "all lines"), WorkerState(1, 1, 2, "full", "all lines")]
    health = MergedHealth(2, lambda: states, tmp_path, lambda: 0.0)
    transport = httpx.ASGITransport(health.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as web:
        answer = (await web.get("/readyz")).json()
    assert (answer["status"], answer["calls"], answer["max_calls"]) == ("full", 2, 2)
