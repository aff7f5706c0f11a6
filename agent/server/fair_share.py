"""What one client address may take of the server: requests under way, and offers a minute."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.rates import TokenBucket

MAX_ADDRESSES = 4096
"""Addresses that are remembered; beyond it the one that was seen longest ago is forgotten."""
HEALTH = ("/healthz", "/readyz", "/metrics")
"""Paths that are answered however busy the server is."""


def address_of(connection: HTTPConnection) -> str:
    """The IP address of a client; empty where it is gone already."""
    return connection.client.host if connection.client else ""


class AddressRates:
    """A rate for each address.

    Args:
        steady: tokens a second.
        burst: tokens at once.
        clock: monotonic seconds.
    """

    def __init__(
        self, steady: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._steady = steady
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def allow(self, address: str) -> bool:
        """Whether one more may come from ``address``; counts it."""
        now = self._clock()
        if address not in self._buckets:
            self._buckets[address] = TokenBucket(self._steady, self._burst, now)
        self._buckets.move_to_end(address)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return self._buckets[address].take(1, now)


class BoundedRequests:
    """Middleware that answers 503 while too many requests are under way, health aside.

    Args:
        limit: requests and calls at once.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope.get("path") in HEALTH:
            await self._app(scope, receive, send)
        elif self._running >= self._limit:
            await _busy(scope, receive, send)
        else:
            self._running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._running -= 1


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013})
        return
    error = {"type": "server_error", "code": "server_busy", "message": "too many requests at once"}
    answer = JSONResponse({"error": error}, 503, {"Retry-After": "1"})
    await answer(scope, receive, send)
