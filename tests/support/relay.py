"""A TCP relay that can be cut: what a phone that leaves the Wi-Fi is to its server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agent.bench.network_link import Condition
from agent.bench.network_relay import INSTANT, TcpRelay

WAIT_SECONDS = 10.0


class Relay:
    """Passes bytes on to a port of this machine, from a thread of its own.

    Args:
        to: the server's port.
        network: of each connection.
    """

    def __init__(self, to: int, network: Condition = INSTANT) -> None:
        self._relay = TcpRelay(to, network)
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._relay.open()
        self._ready.set()
        await self._over.wait()
        await self._relay.close()

    @property
    def port(self) -> int:
        return self._relay.port

    def cut(self, *, down: bool = False) -> None:
        """Break all connections without a word; ``down``: and refuse new ones from now on."""
        self._loop.call_soon_threadsafe(lambda: self._relay.cut(down=down))

    def up(self) -> None:
        """Take connections again."""
        self._loop.call_soon_threadsafe(self._relay.up_again)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(WAIT_SECONDS)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_SECONDS)


@contextmanager
def relay_to(url: str, network: Condition = INSTANT) -> Iterator[Relay]:
    """A relay to the server at ``url``."""
    relay = Relay(int(url.rpartition(":")[2]), network)
    relay.start()
    try:
        yield relay
    finally:
        relay.stop()
