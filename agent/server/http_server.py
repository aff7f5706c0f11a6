"""The HTTP server of the calls: uvicorn with this project's protocols, limits and certificate."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from agent.config.settings import ServerSettings
from agent.server.http_deadlines import HttpWithDeadlines
from agent.server.tls import ReloadedCertificate
from agent.telephony.media.websocket import MediaAwareProtocol

HARD_MESSAGE_LIMIT = 16 * 1_048_576
"""Bytes at which the connection is closed unread; smaller oversized events get an answer."""


class HttpServer(uvicorn.Server):
    """A server whose signals ``Stopping`` takes, or asyncio.

    Args:
        app: answers the requests.
        settings: with the certificate, if there is one.

    Attributes:
        certificate: of the server, to be read again; None: plain HTTP.
    """

    def __init__(self, app: Starlette, settings: ServerSettings) -> None:
        config = uvicorn.Config(
            app,
            http=HttpWithDeadlines,
            ws=MediaAwareProtocol,
            ws_max_size=HARD_MESSAGE_LIMIT,
            ws_per_message_deflate=False,
            log_config=None,
            timeout_graceful_shutdown=3,
            access_log=False,
            forwarded_allow_ips=list(settings.trusted_proxies),
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
        )
        self.certificate = ReloadedCertificate.of(config, settings)
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Make ``run`` return soon."""
        self.should_exit = True

    async def until_stopped(
        self,
        sockets: Sequence[socket.socket],
        started: Callable[[], Awaitable[None] | None] | None = None,
    ) -> None:
        """Serve at ``sockets`` until ``stop``, or until the task is cancelled.

        Args:
            started: called, and awaited if it returns an awaitable, once requests are accepted.
        """
        running = asyncio.create_task(self.serve(sockets=list(sockets)))
        try:
            # uvicorn has no event for it
            while not self.started and not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if started is not None and (pending := started()) is not None:
                await pending
            await asyncio.shield(running)
        except asyncio.CancelledError:
            self.should_exit = True
            await running
            raise
