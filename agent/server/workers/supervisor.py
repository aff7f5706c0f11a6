"""The parent of the workers: it holds the port, hands out connections, and keeps workers up.

=========  ==============================================================================
signal     what the parent does
=========  ==============================================================================
SIGTERM    passes it on: the workers drain; connections are handed out until all have ended
SIGINT     passes it on: the workers end their calls at once
a second   passes it on, whatever the first one was
SIGHUP     passes it on to the workers that serve, and to those that load when they do
=========  ==============================================================================

The exit code is that of a server with one process (``agent.server.stopping``). A worker that cannot
start for a mistake of the user has said so; if none ever served, the parent ends with its code.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

from agent.server.stopping import handled
from agent.server.workers.backoff import Backoff
from agent.server.workers.dispatch import WorkerState, ranked
from agent.server.workers.merged_health import MergedHealth
from agent.server.workers.parent_health import serving_health
from agent.server.workers.plan import WorkerPlan
from agent.server.workers.worker_process import Command, WorkerProcess

log = logging.getLogger("onebreath.supervisor")

AT_ONCE = 16
"""Connections that are accepted before the loop does something else."""
HUNG_SECONDS = 60.0
"""Seconds without a word after which a worker is killed and started again."""
PAUSE_SECONDS = 1.0
"""Seconds in which nothing is accepted after the system refused to."""
LOOK_SECONDS = 1.0
END_SECONDS = 30.0
"""Seconds for goodbyes and closing after the time for the drain; then a worker is killed."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Listening sockets of the parent.

    Attributes:
        calls: by the kind of its connections (``agent.server.workers.plan``).
        health: for health alone; None: there is no such port.
    """

    calls: Mapping[bytes, socket.socket]
    health: socket.socket | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """How long the parent waits; shorter in tests.

    Attributes:
        drain: seconds that calls may go on after SIGTERM.
        end: seconds after that in which workers must have ended.
        hung: seconds of silence after which a worker is killed.
        look: seconds between two looks.
        backoff: makes the waits of one worker.
    """

    drain: float
    end: float = END_SECONDS
    hung: float = HUNG_SECONDS
    look: float = LOOK_SECONDS
    backoff: Callable[[], Backoff] = field(default=Backoff)


class Supervisor:
    """The workers of one server.

    Args:
        plans: one for each worker.
        command: the command line of a worker.
        environment: of the workers, besides the parent's.
        started: called once, when the first worker serves.
    """

    def __init__(
        self,
        plans: Sequence[WorkerPlan],
        command: Command,
        ports: Ports,
        waits: Waits,
        environment: dict[str, str],
        health: MergedHealth,
        started: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plans = plans
        self._command = command
        self._ports = ports
        self._waits = waits
        self._environment = environment
        self._health = health
        self._started = started
        self._clock = clock
        self._workers: dict[int, WorkerProcess] = {}
        self._served = asyncio.Event()
        self._ended = asyncio.Event()
        self._accepting = self._reloaded = False
        self._killing: asyncio.TimerHandle | None = None
        self.exit_code = 0

    def serving(self) -> list[WorkerState]:
        """The workers that serve now."""
        return [worker.state for worker in self._workers.values() if worker.state is not None]

    async def run(self) -> int:
        """Serve until a signal ends it; the exit code."""
        folder = self._plans[0].folder
        for sock in self._ports.calls.values():
            sock.setblocking(False)
        with self._signals():
            async with serving_health(self._health.app(), folder, self._ports.health):
                looking = asyncio.create_task(self._look_after())
                try:
                    await self._keep_all()
                finally:
                    for worker in self._workers.values():  # those of a run that was cancelled
                        worker.signal(signal.SIGKILL)
                    looking.cancel()
                    self._accept(False)
                    if self._killing is not None:
                        self._killing.cancel()
        return self.exit_code

    async def _keep_all(self) -> None:
        """Keep all workers: the first one alone until it serves, so that a mistake is told once."""
        first = asyncio.create_task(self._keep(self._plans[0]))
        served = asyncio.create_task(self._served.wait())
        await asyncio.wait({first, served}, return_when=asyncio.FIRST_COMPLETED)
        served.cancel()
        rest = [] if first.done() else [asyncio.create_task(self._keep(p)) for p in self._plans[1:]]
        await asyncio.gather(first, *rest)

    async def _keep(self, plan: WorkerPlan) -> None:
        """Keep one worker up until the server ends."""
        backoff = self._waits.backoff()
        while not self._ended.is_set():
            worker = WorkerProcess(plan, self._command, self._environment, self._told, self._clock)
            worker.hangup_due = self._reloaded  # its plan has the settings as they were
            self._workers[plan.index] = worker
            began = self._clock()
            code = await worker.run()
            del self._workers[plan.index]
            if self._ended.is_set():
                self._health.forget(plan.index)
                return
            if not self._served.is_set():
                self.exit_code = code if 0 < code < 128 else 1
                self._ended.set()
                return
            wait = backoff.after(self._clock() - began)
            self._health.died(plan.index)
            ended = "worker %d ended (%s), and with it %d calls; again in %.1f s"
            log.error(ended, plan.index, _how(code), worker.lost, wait)
            self._accept_if_any()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), wait)

    def _told(self, worker: WorkerProcess) -> None:
        if not self._served.is_set():
            self._served.set()
            self._started()
        self._accept_if_any()

    # ---- connections -----------------------------------------------------------------------

    def _accept_if_any(self) -> None:
        self._accept(bool(self.serving()))

    def _accept(self, wanted: bool) -> None:
        """Accept connections, or leave them in the queue of the port until a worker serves."""
        if wanted == self._accepting:
            return
        self._accepting = wanted
        loop = asyncio.get_running_loop()
        for kind, sock in self._ports.calls.items():
            if wanted:
                loop.add_reader(sock, self._take, kind, sock)
            else:
                loop.remove_reader(sock)

    def _take(self, kind: bytes, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # the client left before
                continue
            except OSError as error:  # no descriptors are left: they come back when calls end
                log.error("no connections for %.0f s: %s", PAUSE_SECONDS, error)
                self._accept(False)
                asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._accept_if_any)
                return
            with connection:  # the worker has a descriptor of its own
                self._hand_out(kind, connection)

    def _hand_out(self, kind: bytes, connection: socket.socket) -> None:
        for state in ranked(self.serving(), self._clock()):
            if self._workers[state.index].hand(kind, connection):
                return
        log.error("no worker takes a connection")

    # ---- signals and hung workers ----------------------------------------------------------

    def _signals(self) -> AbstractContextManager[None]:
        actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: lambda: self.stop(signal.SIGTERM),
            signal.SIGINT: lambda: self.stop(signal.SIGINT),
            signal.SIGHUP: self.reload,
        }
        return handled(actions)

    def reload(self) -> None:
        """SIGHUP: all workers read the settings again."""
        self._reloaded = True
        for worker in self._workers.values():
            worker.reload()

    def stop(self, number: signal.Signals) -> None:
        """SIGTERM and SIGINT: pass the signal on, and see to it that all workers end."""
        hurried = self._ended.is_set() or number == signal.SIGINT
        if hurried:
            self.exit_code = 128 + number
        else:
            log.warning("stopping: calls may finish; a second signal ends them at once")
        self._ended.set()
        self._health.draining = True
        for worker in self._workers.values():
            worker.signal(number)
        if self._killing is not None:
            self._killing.cancel()
        bound = self._waits.end + (0 if hurried else self._waits.drain)
        self._killing = asyncio.get_running_loop().call_later(bound, self._kill)

    def _kill(self) -> None:
        """End the workers that did not end in time."""
        for worker in self._workers.values():
            log.error("worker %d did not end in time and is killed", worker.index)
            worker.signal(signal.SIGKILL)
        self.exit_code = self.exit_code or 1

    async def _look_after(self) -> None:
        """Kill workers whose event loop has hung; they are started again."""
        while True:
            await asyncio.sleep(self._waits.look)
            now = self._clock()
            for worker in self._workers.values():
                state = worker.state
                if state is not None and now - state.heard > self._waits.hung:
                    log.error("worker %d hangs and is killed", worker.index)
                    worker.signal(signal.SIGKILL)


def _how(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
