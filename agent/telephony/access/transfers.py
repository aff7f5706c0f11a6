"""Callers who are to be connected to another party once the stream of their call has ended.

The agent's side ends the stream; the provider then asks what comes next, and is told to dial.
Where several processes share a port, its question may reach another one than the call did.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("onebreath.telephony")

LIFETIME = 60.0
"""Seconds within which the provider has to ask."""
MAX_WAITING = 1024
"""Callers who may wait; beyond them the oldest is forgotten."""
BUSY_SECONDS = 1.0
"""Longest wait for another process that writes."""


class Transfers:
    """The destinations by call.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def expect(self, provider: str, call_id: str, destination: str) -> None:
        """Let the provider connect the call to ``destination`` when it asks."""
        self._waiting[provider, call_id] = destination, self._clock() + LIFETIME
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    def take(self, provider: str, call_id: str) -> str | None:
        """The destination of a call, once; None where it is to be hung up."""
        destination, expires = self._waiting.pop((provider, call_id), ("", 0.0))
        return destination if destination and self._clock() < expires else None


class TransfersOnMachine(Transfers):
    """The destinations by call, for all processes of a machine.

    Args:
        file: an SQLite database, made if it is not there.
        clock: monotonic seconds, of which all processes of a machine have the same.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._database = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")  # a crash of the machine ends the calls
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS waiting (provider TEXT, call TEXT, destination TEXT,"
            " expires REAL, PRIMARY KEY (provider, call))"
        )

    def expect(self, provider: str, call_id: str, destination: str) -> None:
        """Let the provider connect the call to ``destination`` when it asks any process.

        Raises:
            sqlite3.Error: it could not be noted.
        """
        now = self._clock()
        self._database.execute("DELETE FROM waiting WHERE expires <= ?", (now,))
        row = provider, call_id, destination, now + LIFETIME
        self._database.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)", row)
        self._database.execute(
            "DELETE FROM waiting WHERE rowid IN"
            " (SELECT rowid FROM waiting ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
            (MAX_WAITING,),
        )

    def take(self, provider: str, call_id: str) -> str | None:
        call = provider, call_id
        where = "FROM waiting WHERE provider = ? AND call = ?"
        try:
            found = self._database.execute(f"SELECT destination, expires {where}", call).fetchone()
            first = self._database.execute(f"DELETE {where}", call).rowcount == 1
        except sqlite3.Error as error:
            log.error("a transfer could not be looked up: %s", error)
            return None
        return found[0] if found and first and self._clock() < found[1] else None

    def close(self) -> None:
        """Close the database."""
        self._database.close()
