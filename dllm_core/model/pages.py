"""Who holds which page of the device's keys and values: pure counting, no tensors.

Paging is vLLM's idea (PagedAttention, arXiv 2309.06180). What differs is admission: a call is
promised all pages that it may ever need before it begins, so that none runs out of memory while
somebody is speaking.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock

from dllm_core.errors import PagesFullError

SCRATCH = 0
"""This page belongs to nobody: rows that nobody looks at are written there."""


@dataclass(slots=True)
class _Holder:
    promised: int
    taken: int = 0
    """Pages it took that are still in somebody's hands, at most those promised."""


class PageBook:
    """Reference counts, free pages and promises of one pool of `count` pages.

    A page is taken by one holder and may then be shared: whoever has it counts once. It is free
    again when nobody has it. It weighs on the promise of the holder that took it; if that holder
    has left, it is an orphan and weighs on the pool until the last hand lets go.

    Thread-safe, for a forgotten call gives its pages back on whatever thread notices.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count - 1, SCRATCH, -1))
        self._hands = [0] * count
        self._owner = [0] * count
        self._holders: dict[int, _Holder] = {}
        self._next = 1
        self._orphans = 0
        self._lock = RLock()

    @property
    def free(self) -> int:
        """Pages in nobody's hands."""
        return len(self._free)

    @property
    def spare(self) -> int:
        """Pages that can still be promised."""
        promised = sum(holder.promised for holder in self._holders.values())
        return self.count - 1 - promised - self._orphans

    @property
    def holders(self) -> int:
        return len(self._holders)

    def open(self, pages: int) -> int:
        """Promise so many pages to a new holder; returns its number.

        Raises:
            PagesFullError: they are not there.
        """
        with self._lock:
            self._require(pages)
            number, self._next = self._next, self._next + 1
            self._holders[number] = _Holder(pages)
            return number

    def _require(self, pages: int) -> None:
        if pages > self.spare:
            raise PagesFullError(
                f"The GPU's memory for keys and values is promised to the {self.holders} under "
                f"way: of {self.count - 1} pages {max(0, self.spare)} are left, and {pages} are "
                "needed. Try again when a call has ended, or load the engine with less context."
            )

    def take(self, holder: int) -> int:
        """A free page for a holder; beyond its promise only if the pool can spare one.

        Raises:
            PagesFullError: it has all it was promised and nothing is spare.
        """
        with self._lock:
            held = self._holders[holder]
            if held.taken == held.promised:
                self._require(1)
                held.promised += 1
            held.taken += 1
            page = self._free.pop()
            self._hands[page], self._owner[page] = 1, holder
            return page

    def share(self, page: int) -> None:
        """One more has this page."""
        with self._lock:
            if not self._hands[page]:
                raise ValueError(f"page {page} is free: nothing to share")
            self._hands[page] += 1

    def is_shared(self, page: int) -> bool:
        return self._hands[page] > 1

    def drop(self, page: int) -> None:
        """One fewer has this page; the last one frees it."""
        with self._lock:
            if not self._hands[page]:
                raise ValueError(f"page {page} is free already")
            self._hands[page] -= 1
            if self._hands[page]:
                return
            self._free.append(page)
            owner = self._holders.get(self._owner[page])
            if owner is None:
                self._orphans -= 1
            else:
                owner.taken -= 1

    def close(self, holder: int) -> None:
        """A holder leaves, having dropped its pages; what others share of them stays."""
        with self._lock:
            self._orphans += self._holders.pop(holder).taken


def pages_for(positions: int, size: int) -> int:
    """Pages that hold so many positions."""
    return -(-positions // size)
