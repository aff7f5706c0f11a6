"""Reference counts and reservations of the pages of keys and values; no tensors.

Paging is vLLM's idea (PagedAttention, arXiv 2309.06180). Admission differs: all pages that a
sequence may ever need are reserved before it begins, so that no reply under way runs out of memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock

from dllm_core.errors import PagesFullError

SCRATCH = 0
"""Number of the page to which unused rows are written; it is never handed out."""


@dataclass(slots=True)
class _Holder:
    """The pages of one holder: reserved, and taken and not yet free again (at most those)."""

    promised: int
    taken: int = 0


class PageBook:
    """Reference counts, free pages and reservations of one pool of `count` pages.

    A page is taken by one holder and may then be shared; each reference counts once. It is free
    again at zero references. A page counts against the reservation of the holder that took it;
    when that holder has closed, the page is an orphan and counts against the pool until it is
    free.

    Thread-safe: a garbage-collected cache gives its pages back on any thread.
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
        """Pages without references."""
        return len(self._free)

    @property
    def spare(self) -> int:
        """Pages that can still be reserved."""
        promised = sum(holder.promised for holder in self._holders.values())
        return self.count - 1 - promised - self._orphans

    @property
    def holders(self) -> int:
        """Number of open holders."""
        return len(self._holders)

    def open(self, pages: int) -> int:
        """Reserve so many pages for a new holder; returns its number.

        Raises:
            PagesFullError: fewer can be reserved.
        """
        with self._lock:
            self._require(pages)
            number, self._next = self._next, self._next + 1
            self._holders[number] = _Holder(pages)
            return number

    def _require(self, pages: int) -> None:
        if pages > self.spare:
            raise PagesFullError(
                f"The GPU's memory for keys and values is reserved by {self.holders} sequences: of "
                f"{self.count - 1} pages {max(0, self.spare)} are left, and {pages} are needed. "
                "Try again when one of them has ended, or load the engine with less context."
            )

    def take(self, holder: int) -> int:
        """Give a free page to a holder; beyond its reservation only if the pool can spare one.

        Raises:
            PagesFullError: the holder has all its pages and no other can be reserved.
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
        """Add a reference to this page."""
        with self._lock:
            if not self._hands[page]:
                raise ValueError(f"page {page} is free: nothing to share")
            self._hands[page] += 1

    def is_shared(self, page: int) -> bool:
        """Whether this page has more than one reference."""
        return self._hands[page] > 1

    def drop(self, page: int) -> None:
        """Remove a reference to this page; removing the last one frees it."""
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
        """Close a holder that has dropped its pages; pages that others share stay theirs."""
        with self._lock:
            self._orphans += self._holders.pop(holder).taken


def pages_for(positions: int, size: int) -> int:
    """Number of pages of `size` positions that hold so many positions."""
    return -(-positions // size)
