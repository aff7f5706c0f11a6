"""The parent's own server of health: on a unix socket for the workers, and on the health port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from agent.server.http_deadlines import HttpWithDeadlines
from agent.server.identity import HEALTH_SOCKET


@asynccontextmanager
async def serving_health(
    app: Starlette, folder: Path, port: socket.socket | None
) -> AsyncIterator[None]:
    """Serve ``app`` meanwhile in ``folder``, and at ``port`` if there is one."""
    config = uvicorn.Config(
        app,
        http=HttpWithDeadlines,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = _Quiet(config)
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(str(folder / HEALTH_SOCKET))
    unix.listen(64)
    sockets = [unix] if port is None else [unix, port]
    serving = asyncio.create_task(server.serve(sockets=sockets))
    try:
        # uvicorn has no event for it
        while not server.started and not serving.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await serving


class _Quiet(uvicorn.Server):
    """A server that leaves the signals of the process alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
