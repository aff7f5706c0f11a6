"""One worker as its parent sees it: a process, its channel, and what it told last."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from agent.server.workers.dispatch import WorkerState
from agent.server.workers.plan import WorkerPlan, send_plan

log = logging.getLogger("onebreath.supervisor")

MAX_LINE = 65_536
"""Bytes of one report."""

Command = Callable[[int], Sequence[str]]
"""The command line of a worker, by the number of the channel's descriptor."""


class WorkerProcess:
    """A worker, from its start to its end.

    Args:
        plan: for the worker.
        command: its command line.
        environment: of the process, besides the parent's.
        told: called after each report.

    Attributes:
        state: what it told last; None until it serves.
        lost: calls that were up when it ended.
        hangup_due: whether settings changed while it was loading.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        command: Command,
        environment: dict[str, str],
        told: Callable[[WorkerProcess], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._command = command
        self._environment = environment
        self._told = told
        self._clock = clock
        self._channel: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.index = plan.index
        self.state: WorkerState | None = None
        self.lost = 0
        self.hangup_due = False

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def run(self) -> int:
        """Start the process, hear its reports, and wait for its end; its exit code."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, **self._environment},
                    # Ctrl-C of a terminal is for the parent, which passes it on.
                    start_new_session=True,
                )
            self._channel = ours
            try:
                send_plan(ours, self._plan)
                ours.setblocking(False)
                await self._hear(ours)
            except OSError as error:
                log.debug("worker %d: %s", self.index, error)
            code = await self._process.wait()
            self.lost = 0 if self.state is None else self.state.calls
            self._channel, self.state = None, None
            return code

    async def _hear(self, channel: socket.socket) -> None:
        """Take the reports until the worker closes its end."""
        loop = asyncio.get_running_loop()
        rest = b""
        while piece := await loop.sock_recv(channel, MAX_LINE):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, report: dict[str, object]) -> None:
        state = self.state or WorkerState(self.index)
        state.calls = int(str(report["calls"]))
        state.max_calls = int(str(report["max_calls"]))
        state.status, state.reason = str(report["status"]), str(report["reason"])
        state.heard = self._clock()
        first, self.state = self.state is None, state
        if first and self.hangup_due and hasattr(signal, "SIGHUP"):
            self.hangup_due = False
            self.signal(signal.SIGHUP)
        self._told(self)

    def hand(self, kind: bytes, connection: socket.socket) -> bool:
        """Hand a connection to the worker; False where it takes none."""
        if self._channel is None or self.state is None:
            return False
        try:
            socket.send_fds(self._channel, [kind], [connection.fileno()])
        except OSError:  # it died, or its loop is blocked and the channel full
            return False
        self.state.handed.append(self._clock())
        return True

    def reload(self) -> None:
        """Let it read the settings again, after its start if it is still loading."""
        if self.state is None:
            self.hangup_due = True
        else:
            self.signal(signal.SIGHUP)

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)
