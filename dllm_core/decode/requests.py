"""Requests that wait for a place in a batch, and requests under way."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from dllm_core.errors import QueueFullError


class Work(Protocol):
    """The part of a request that a batch denoises."""

    @property
    def done(self) -> bool: ...


W = TypeVar("W", bound=Work)


@dataclass(order=True, slots=True)
class Ticket(Generic[W]):
    """One request in a batch; tickets sort by earliest due time, then by order of arrival.

    Attributes:
        due: time by which the request should be served, in seconds on the batch's clock.
        number: order of arrival, from 0.
        work: the sequence or canvas that is denoised.
        cancelled: whether the request leaves the batch at the next step boundary.
        error: the exception that ended the request; its submitter raises it.
    """

    due: float
    number: int
    work: W = field(compare=False)
    cancelled: bool = field(default=False, compare=False)
    error: Exception | None = field(default=None, compare=False)

    def cancel(self) -> None:
        """Leave the queue, or the batch at the next step boundary."""
        self.cancelled = True

    @property
    def over(self) -> bool:
        """Whether the request is done, cancelled or failed."""
        return self.work.done or self.cancelled or self.error is not None


class Requests(Generic[W]):
    """The requests of one batch: at most `size` under way and `queue` waiting.

    A request without a due time is due `patience` seconds after it came, so that urgent ones
    cannot keep it waiting for ever. `clock` gives seconds. Not thread-safe.
    """

    def __init__(
        self, *, size: int, queue: int, patience: float, clock: Callable[[], float]
    ) -> None:
        self._size, self._queue = size, queue
        self._patience, self._clock = patience, clock
        self._numbers = itertools.count()
        self._waiting: list[Ticket[W]] = []
        self.active: list[Ticket[W]] = []

    def submit(self, work: W, due: float | None = None) -> Ticket[W]:
        """Add a request; `due` is in seconds on the clock.

        Raises:
            QueueFullError: `queue` requests wait already.
        """
        self._waiting = [ticket for ticket in self._waiting if not ticket.over]
        heapq.heapify(self._waiting)
        if len(self._waiting) >= self._queue:
            raise QueueFullError(f"{self._queue} requests wait already: try again later.")
        due = self._clock() + self._patience if due is None else due
        ticket = Ticket(due, next(self._numbers), work)
        heapq.heappush(self._waiting, ticket)
        return ticket

    def admit(self, first: Ticket[W] | None = None) -> None:
        """Fill the free places in order of due time; `first` gets one even if all are taken."""
        self.drop_over()
        if first in self._waiting:
            self._waiting.remove(first)
            heapq.heapify(self._waiting)
            self.active.append(first)
        while self._waiting and len(self.active) < self._size:
            ticket = heapq.heappop(self._waiting)
            if not ticket.over:
                self.active.append(ticket)

    def drop_over(self) -> None:
        """Free the places of the requests that are over."""
        self.active = [ticket for ticket in self.active if not ticket.over]

    @property
    def idle(self) -> bool:
        """Whether no request waits or is under way."""
        return all(ticket.over for ticket in (*self.active, *self._waiting))
