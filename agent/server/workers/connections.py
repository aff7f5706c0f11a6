"""The worker's side of the channel: it takes connections, and tells its parent of its calls."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any

import uvicorn

from agent.server.forwarding import FromSibling
from agent.server.workers.plan import AUDIOSOCKET, report_line

log = logging.getLogger("onebreath.worker")

LOOK_SECONDS = 0.1
"""Seconds between two looks at the worker's own state."""
BEAT_SECONDS = 1.0
"""Seconds between two reports of a state that does not change."""
AT_ONCE = 16
"""Connections that are taken before the loop does something else."""

AudioSocketHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class HandedConnections:
    """Connections that a worker is handed by its parent.

    Args:
        channel: to the parent.
        server: serves HTTP and websockets.
        audiosocket: serves AudioSocket calls.
        state: the worker's state as its parent wants it.
        orphaned: called when the parent is gone.
    """

    def __init__(
        self,
        channel: socket.socket,
        server: uvicorn.Server,
        audiosocket: AudioSocketHandler,
        state: Callable[[], dict[str, Any]],
        orphaned: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._server = server
        self._audiosocket = audiosocket
        self._state = state
        self._orphaned = orphaned
        self._opening: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def taking(self, own_socket: Path) -> AsyncIterator[None]:
        """Take connections meanwhile, and serve siblings at ``own_socket``."""
        loop = asyncio.get_running_loop()
        _unlink(own_socket)  # of a worker that died
        siblings = await loop.create_unix_server(self._sibling, own_socket)
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._readable)
        reporting = asyncio.create_task(self._report())
        try:
            yield
        finally:
            loop.remove_reader(self._channel)
            reporting.cancel()
            siblings.close()
            _unlink(own_socket)

    def _sibling(self) -> asyncio.Protocol:
        config = copy(self._server.config)
        config.loaded_app = FromSibling(config.loaded_app)
        return self._protocol(config)

    def _http(self) -> asyncio.Protocol:
        return self._protocol(self._server.config)

    def _protocol(self, config: uvicorn.Config) -> asyncio.Protocol:
        return config.http_protocol_class(  # type: ignore[call-arg]
            config=config,
            server_state=self._server.server_state,
            app_state=self._server.lifespan.state,
        )

    def _stream(self) -> asyncio.Protocol:
        reader = asyncio.StreamReader()
        return asyncio.StreamReaderProtocol(reader, self._audiosocket)

    def _readable(self) -> None:
        for _ in range(AT_ONCE):
            try:
                kind, descriptors, _, _ = socket.recv_fds(self._channel, 1, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                kind, descriptors = b"", []
            if not kind:
                asyncio.get_running_loop().remove_reader(self._channel)
                log.error("the parent is gone: no new calls; those that are up may finish")
                self._orphaned()
                return
            for descriptor in descriptors:
                task = asyncio.create_task(self._open(kind, socket.socket(fileno=descriptor)))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)

    async def _open(self, kind: bytes, sock: socket.socket) -> None:
        """Serve one connection; a TLS handshake that fails is the client's affair."""
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        made, tls = self._http, self._server.config.ssl
        if kind == AUDIOSOCKET:
            made, tls = self._stream, None
        try:
            await loop.connect_accepted_socket(made, sock, ssl=tls)
        except (OSError, EOFError) as error:
            log.debug("a connection did not come about: %s", error)
            sock.close()

    async def _report(self) -> None:
        """Tell the parent of every change, and now and then that the loop runs."""
        loop = asyncio.get_running_loop()
        told: dict[str, Any] | None = None
        at = 0.0
        while True:
            state, now = self._state(), loop.time()
            if state != told or now - at >= BEAT_SECONDS:
                with suppress(OSError):  # it is gone, which the reader notices
                    await loop.sock_sendall(self._channel, report_line(state))
                told, at = state, now
            await asyncio.sleep(LOOK_SECONDS)


def _unlink(file: Path) -> None:
    file.unlink(missing_ok=True)
