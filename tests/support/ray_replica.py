"""A replica of a shared responder behind HTTP on this machine, without Ray."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from agent.config.settings import ResponderChoice
from agent.responders.base import Responder
from agent.runtime.ray_replica import Replica


class Proxy:
    """Hands requests to a replica, as Ray Serve does; the next ones fail with ``statuses``."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.statuses: list[int] = []
        self.paths: list[str] = []
        self._asked = asyncio.Condition()

    async def asked_for(self, path: str, times: int) -> None:
        """Wait until a path has been asked for so many times."""
        async with asyncio.timeout(10), self._asked:
            await self._asked.wait_for(lambda: self.paths.count(path) >= times)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._asked:
            self.paths.append(scope["path"])
            self._asked.notify_all()
        if self.statuses:
            status = self.statuses.pop(0)
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        response = await self.replica(Request(scope, receive))
        await response(scope, receive, send)


@asynccontextmanager
async def replica(
    make: Callable[[], Responder], api_key: str | None = None, **options: Any
) -> AsyncIterator[tuple[str, Proxy]]:
    """(address, proxy) of a replica with the responder of ``make``."""
    chosen = ResponderChoice(engine="scripted", api_key=api_key)
    made = await asyncio.to_thread(lambda: Replica(chosen, make, **options))
    proxy = Proxy(made)
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(proxy, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([sock]))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}", proxy
    finally:
        server.should_exit = True
        await serving
        sock.close()
        await asyncio.to_thread(made.close)
