"""Uvicorn's HTTP with deadlines: for the headers of a request, and for its body.

Uvicorn waits for ever for a client that has connected and says nothing, and for one that sends a
byte now and then. Here such a connection ends after some seconds, and where many of them are open
the oldest makes room, so that they never keep a request out. Uses the attributes ``cycle``,
``transport`` and ``connections`` of uvicorn's class, which are not public; the tests fail when they
go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("onebreath.server")

HEADER_SECONDS = 5.0
"""Seconds from the opening of a connection, or from the first byte of a later request, to the end
of its headers."""
BODY_SECONDS = 10.0
"""Seconds from there to the end of the body."""
MAX_SILENT = 64
"""Connections whose request is not complete; at one more, the oldest of them is closed."""

_silent: dict[int, dict[HttpWithDeadlines, None]] = {}
"""Connections without a complete request, oldest first, for each server."""


class HttpWithDeadlines(H11Protocol):
    """One connection, which is closed when its request is not complete in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._deadline is None:
            self._await_headers()
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._all_is_here()
            if self.cycle.more_body:
                self._deadline = self.loop.call_later(BODY_SECONDS, self._late)
        elif self.cycle is not None and not self.cycle.more_body:
            self._all_is_here()

    def handle_events(self) -> None:
        super().handle_events()
        # A proxy that went by the other length takes the rest of the body for a request of its
        # own, so nothing behind such a request is read (RFC 9112, 6.1).
        if self.cycle is not None and _has_two_lengths(self.cycle.scope["headers"]):
            self.cycle.keep_alive = False

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._all_is_here()
        super().handle_websocket_upgrade(event)

    @property
    def _others(self) -> dict[HttpWithDeadlines, None]:
        return _silent.setdefault(id(self.server_state), {})

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self._late)
        others = self._others
        others[self] = None
        if len(others) > MAX_SILENT:
            next(iter(others))._late()

    def _all_is_here(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        others = self._others
        others.pop(self, None)
        if not others:
            del _silent[id(self.server_state)]

    def _late(self) -> None:
        log.debug("closed a connection of %s without a complete request", self.client)
        self._all_is_here()
        self.transport.abort()


def _has_two_lengths(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}
