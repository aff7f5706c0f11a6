"""Health and metrics of a server with several processes, answered by their parent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.server.workers.dispatch import WorkerState


class MergedHealth:
    """What the parent says of its workers.

    Args:
        wanted: number of workers.
        serving: the workers that serve now.
        metrics: folder of prometheus_client's files, one process's figures in each.
    """

    def __init__(
        self,
        wanted: int,
        serving: Callable[[], Sequence[WorkerState]],
        metrics: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = wanted
        self._serving = serving
        self._folder = metrics
        self._clock = clock
        self.draining = False
        own = CollectorRegistry()
        self._own = own
        self._up = Gauge("onebreath_workers", "Workers that serve.", registry=own)
        self._deaths = Counter(
            "onebreath_worker_deaths", "Workers that ended unasked.", ["worker"], registry=own
        )
        for index in range(wanted):
            self._deaths.labels(str(index))  # Prometheus misses a first death without a 0 before

    def app(self) -> Starlette:
        """The ASGI application of the three routes."""
        return Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/readyz", self._ready),
                Route("/metrics", self._metrics),
            ]
        )

    def died(self, index: int) -> None:
        """Count a death; its gauges are no more, its counters go on in its successor."""
        self._deaths.labels(str(index)).inc()
        self.forget(index)

    def forget(self, index: int) -> None:
        """Drop the gauges of a worker that ended."""
        mark_process_dead(index, str(self._folder))  # type: ignore[no-untyped-call]

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        """Ready while one worker is: connections go to it."""
        now, workers = self._clock(), self._serving()
        rows = [_row(worker, now) for worker in workers]
        body: dict[str, object] = {
            "calls": sum(worker.calls for worker in workers),
            "max_calls": max((worker.max_calls for worker in workers), default=0),
            "workers": rows,
        }
        if self.draining:
            status, reason = "draining", "the server is being stopped"
        elif not rows:
            status, reason = "starting", f"none of {self._wanted} workers serves yet"
        elif any(row["status"] == "ready" for row in rows):
            return JSONResponse({"status": "ready", **body})
        else:
            status, reason = rows[0]["status"], rows[0]["reason"]
        return JSONResponse({"status": status, "reason": reason, **body}, 503)

    async def _metrics(self, request: Request) -> Response:
        merged = CollectorRegistry()
        MultiProcessCollector(merged, path=str(self._folder))  # type: ignore[no-untyped-call]
        self._up.set(len(self._serving()))
        content = generate_latest(merged) + generate_latest(self._own)
        return Response(content, media_type=CONTENT_TYPE_LATEST)


def _row(worker: WorkerState, now: float) -> dict[str, Any]:
    status, reason = worker.trouble(now) or ("ready", "")
    return {
        "worker": worker.index,
        "status": status,
        "reason": reason,
        "calls": worker.calls,
    }
