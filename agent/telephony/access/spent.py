"""Spent tokens, remembered until they expire: in this process, or for all of a machine."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from agent.errors import ProtocolError

MAX_SPENT = 4096
"""Spent tokens that are remembered; at this number, tokens are refused until some expire."""
BUSY_SECONDS = 1.0
"""Longest wait for another process that writes; a token that cannot be noted is refused."""


class TokenError(ProtocolError):
    """The token is refused; the message says why and never repeats the token."""


class Spent(Protocol):
    """Remembers which tokens were spent."""

    def add(self, head: bytes, expires: float, now: float) -> None:
        """Note a token as spent.

        Raises:
            TokenError: it was spent before, or too many were.
        """


class SpentHere:
    """Spent tokens of this process."""

    def __init__(self) -> None:
        self._spent: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._spent)

    def add(self, head: bytes, expires: float, now: float) -> None:
        self._forget(now)
        if head in self._spent:
            raise _used()
        if len(self._spent) >= MAX_SPENT:
            raise _too_many()
        self._spent[head] = expires

    def _forget(self, now: float) -> None:
        """Drop expired tokens. All tokens live equally long, so the oldest are first, except for
        tokens that were spent late: these are dropped at most a lifetime late."""
        while self._spent and next(iter(self._spent.values())) <= now:
            self._spent.popitem(last=False)


class SpentOnMachine:
    """Spent tokens of all processes of a machine, which a dead process leaves behind.

    Args:
        file: an SQLite database, made if it is not there.
    """

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
        self._database.execute("PRAGMA synchronous = OFF")  # a crash of the machine ends the calls
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS spent (head BLOB PRIMARY KEY, expires REAL) WITHOUT ROWID"
        )

    def add(self, head: bytes, expires: float, now: float) -> None:
        try:
            self._database.execute("DELETE FROM spent WHERE expires <= ?", (now,))
            (count,) = self._database.execute("SELECT count(*) FROM spent").fetchone()
            if count >= MAX_SPENT:
                raise _too_many()
            self._database.execute("INSERT INTO spent VALUES (?, ?)", (head, expires))
        except sqlite3.IntegrityError:
            raise _used() from None
        except sqlite3.Error as error:
            raise TokenError(f"the token could not be noted as spent: {error}") from None

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _used() -> TokenError:
    return TokenError("the token was used before")


def _too_many() -> TokenError:
    return TokenError("too many sockets were opened in the last minute")
