"""Health (``/healthz``, ``/readyz``, ``/metrics``), on the server's port or one of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.runtime.calls import CallRegistry
from agent.runtime.engine_tasks import Engines
from agent.runtime.watchdog import Watchdog
from agent.server.forwarding import Target, ask
from agent.server.http_deadlines import HttpWithDeadlines
from agent.server.identity import HEALTH_SOCKET

VOICE_READY = Gauge(
    "onebreath_voice_ready", "Whether the voice can speak: 1, or 0.", multiprocess_mode="livemin"
)
WAITING = Gauge(
    "onebreath_compute_waiting",
    "Pieces of work that wait for the compute thread.",
    multiprocess_mode="livesum",
)


class Health:
    """What the server says of itself; may be asked from any thread.

    Args:
        calls: the server's calls.
        watchdog: watches the event loop of the calls.
        folder: shared by the processes of a server, whose parent answers for all of them; None
            where there is one process.
    """

    def __init__(
        self,
        calls: CallRegistry,
        engines: Engines,
        watchdog: Watchdog,
        folder: Path | None = None,
    ) -> None:
        self._parent = None if folder is None else Target("http://parent", folder / HEALTH_SOCKET)
        self._calls = calls
        self._engines = engines
        self._watchdog = watchdog

    def routes(self) -> list[Route]:
        """The three routes."""
        return [
            Route("/healthz", self._health),
            Route("/readyz", self._ready),
            Route("/metrics", self._metrics),
        ]

    def trouble(self) -> tuple[str, str] | None:
        """A word and a sentence for why a new call should not come here; None where it may."""
        if self._calls.draining:
            return "draining", "the server is being stopped"
        if (blocked := self._watchdog.trouble) is not None:
            return "blocked", blocked
        if not getattr(self._engines.tts, "ready", True):
            return "voice_down", "the voice is being started again"
        if (refusal := self._calls.refusal()) is not None:
            return "full", str(refusal)
        return None

    async def _health(self, request: Request) -> Response:
        """Liveness: the process answers."""
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        """Readiness: whether a new call would be admitted and served."""
        if (merged := await self._of_parent("/readyz")) is not None:
            return merged
        body: dict[str, object] = {"calls": len(self._calls), "max_calls": self._calls.max_calls}
        trouble = self.trouble()
        if trouble is None:
            return JSONResponse({"status": "ready", **body})
        status, reason = trouble
        return JSONResponse({"status": status, "reason": reason, **body}, status_code=503)

    async def _of_parent(self, path: str) -> Response | None:
        """The answer for all processes; None where there is one, or the parent is gone."""
        if self._parent is None:
            return None
        try:
            answer = await asyncio.to_thread(ask, self._parent, "GET", path)
        except OSError:
            return None
        return answer.response()

    def set_gauges(self) -> None:
        """Bring the figures up to date that are read off and not counted."""
        VOICE_READY.set(float(getattr(self._engines.tts, "ready", True)))
        WAITING.set(self._engines.compute.waiting)

    async def _metrics(self, request: Request) -> Response:
        """Figures of the server, for Prometheus."""
        self.set_gauges()
        if (merged := await self._of_parent("/metrics")) is not None:
            return merged
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @contextmanager
    def serving(self, sock: socket.socket | None) -> Iterator[None]:
        """Answer on ``sock`` meanwhile, in a thread of its own: a blocked loop is told there, too.

        Args:
            sock: a listening socket; None: nothing is done.
        """
        if sock is None:
            yield
            return
        config = uvicorn.Config(
            Starlette(routes=self.routes()),
            http=HttpWithDeadlines,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = _Quiet(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[sock])), name="health", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


class _Quiet(uvicorn.Server):
    """A server that leaves the signals of the process alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
