"""Counted places by name: calls of a server, of an address, of a key.

One process counts them itself. Processes that share a port count them together (ADR 30).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

Free = Callable[[], None]
"""Frees a place; called once."""

STRIDE = 4096
"""Places of one name, at most."""
TRIES = 3
"""Looks at a full row of places before it counts as full: a probe holds one for microseconds."""


class Places:
    """Places that one process counts."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def take(self, name: str, bound: int) -> Free | None:
        """Take one of ``bound`` places of ``name``; None where all are taken."""
        if self.full(name, bound):
            return None
        self._taken[name] += 1

        def free() -> None:
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]

        return free

    def full(self, name: str, bound: int) -> bool:
        """Whether ``take`` would find no place now."""
        return self._taken[name] >= bound


class SharedPlaces(Places):
    """Places that all processes with the same file count together.

    A place is one byte of the file, which its holder locks (POSIX record locks). The kernel frees
    what a process held when it dies, however it dies; nothing is written.

    Args:
        file: made if it is not there. A process opens it once: closing any descriptor of it frees
            all places of the process.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held: set[int] = set()

    def take(self, name: str, bound: int) -> Free | None:
        for _ in range(TRIES):
            place = self._lock_one(name, bound)
            if place is not None:
                self._held.add(place)
                return lambda: self._free(place)
        return None

    def full(self, name: str, bound: int) -> bool:
        free = self.take(name, bound)
        if free is not None:
            free()
        return free is None

    def _lock_one(self, name: str, bound: int) -> int | None:
        import fcntl

        row = int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") * STRIDE
        for place in range(row, row + min(bound, STRIDE)):
            if place in self._held:  # a process is never kept out by its own locks
                continue
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                continue
            return place
        return None

    def _free(self, place: int) -> None:
        import fcntl

        self._held.discard(place)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)
