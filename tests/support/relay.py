"""A TCP relay that can be cut: what a phone that leaves the Wi-Fi is to its server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

WAIT_SECONDS = 10.0


class Relay:
    """Passes bytes on to a port of this machine, from a thread of its own.

    Args:
        to: the server's port.
    """

    def __init__(self, to: int) -> None:
        self.port = 0
        self._to = to
        self._down = False
        self._pairs: set[asyncio.StreamWriter] = set()
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        self._abort()
        server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._pairs |= {writer, back}
        await asyncio.gather(_pass(reader, back), _pass(there, writer))
        self._pairs -= {writer, back}

    def _abort(self) -> None:
        for writer in self._pairs:
            writer.transport.abort()

    def cut(self, *, down: bool = False) -> None:
        """Break all connections without a word; ``down``: and refuse new ones from now on."""
        self._down = down
        self._loop.call_soon_threadsafe(self._abort)

    def up(self) -> None:
        """Take connections again."""
        self._down = False

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(WAIT_SECONDS)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_SECONDS)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # cut
    writer.close()


@contextmanager
def relay_to(url: str) -> Iterator[Relay]:
    """A relay to the server at ``url``."""
    relay = Relay(int(url.rpartition(":")[2]))
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()
