"""Signals of a server: SIGTERM drains it, a second one ends it at once, SIGHUP reads settings anew.

=========  =========================================================================  =========
signal     what happens                                                               exit code
=========  =========================================================================  =========
SIGTERM    not ready, no new calls; running calls finish (``server.drain_seconds``),      0
           then a spoken goodbye and a clean close
SIGINT     calls are closed at once, each with a reason                                  130
a second   the same, whatever the first one was                                        128 + n
SIGHUP     the settings are read again; calls go on                                       -
=========  =========================================================================  =========
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

log = logging.getLogger("onebreath.server")


@contextmanager
def handled(actions: Mapping[int, Callable[[], None]]) -> Iterator[None]:
    """Let signals call ``actions`` meanwhile; SIGHUP, which by default kills, is ignored after it.

    It is entered in the loop, on the main thread; not on Windows.
    """
    loop = asyncio.get_running_loop()
    for number, action in actions.items():
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number in actions:
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Stopping:
    """Turns signals into the end of a server.

    Args:
        drain: lets the calls end by themselves.
        stop: makes the server return; called once, or again to hurry.
        reload: reads the settings again.

    Attributes:
        exit_code: the code for the end of the process.
    """

    def __init__(
        self,
        drain: Callable[[], Awaitable[None]],
        stop: Callable[[], None],
        reload: Callable[[], None],
    ) -> None:
        self._drain = drain
        self._stop = stop
        self._reload = reload
        self._draining: asyncio.Task[None] | None = None
        self.exit_code = 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals meanwhile; called in the loop, on the main thread."""
        if sys.platform == "win32":
            yield
            return
        actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self.terminate,
            signal.SIGINT: self.interrupt,
            signal.SIGHUP: self._reload,
        }
        with handled(actions):
            yield

    def terminate(self) -> None:
        """SIGTERM: drain; a second one stops at once."""
        if self._draining is not None:
            self._hurry(signal.SIGTERM)
            return
        log.warning("stopping: calls may finish; a second signal ends them at once")
        self._draining = asyncio.create_task(self._drain_and_stop())

    def interrupt(self) -> None:
        """SIGINT: stop at once."""
        self._hurry(signal.SIGINT)

    def _hurry(self, number: signal.Signals) -> None:
        self.exit_code = 128 + number
        if self._draining is not None:
            self._draining.cancel()
        self._stop()

    async def _drain_and_stop(self) -> None:
        await self._drain()
        self._stop()
