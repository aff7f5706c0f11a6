"""Several replies denoised in step: one forward pass serves all that are under way.

Rows of different sequences are laid one after another, so nothing is padded and nothing
leaks: every sequence attends to its own keys and values only (model.py).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

import torch
from torch import Tensor

from dllm_core.denoise import Denoiser, Forward, run
from dllm_core.errors import QueueFullError
from dllm_core.model import Transformer


@dataclass(order=True, slots=True)
class Ticket:
    """One request; they are served by earliest due time, then in order of arrival."""

    due: float
    number: int
    denoiser: Denoiser = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Leave the batch at the next step boundary, or the queue."""
        self.cancelled = True


class Batch:
    """A step-synchronous batch: requests join and leave between two steps.

    At most `size` are under way and `queue` wait. A request without a due time is due
    `patience` seconds after it came, so that urgent ones cannot keep it waiting for ever.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        size: int = 8,
        queue: int = 64,
        patience: float = 5.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._size, self._queue = model, size, queue
        self._patience, self._clock = patience, clock
        self._numbers = itertools.count()
        self._waiting: list[Ticket] = []
        self._active: list[Ticket] = []

    def submit(self, denoiser: Denoiser, due: float | None = None) -> Ticket:
        """Ask for a reply; `due` is on the batch's clock, in seconds.

        Raises:
            QueueFullError: too many wait already.
        """
        self._waiting = [ticket for ticket in self._waiting if not ticket.cancelled]
        heapq.heapify(self._waiting)
        if len(self._waiting) >= self._queue:
            raise QueueFullError(f"{self._queue} requests wait already: try again later.")
        due = self._clock() + self._patience if due is None else due
        ticket = Ticket(due, next(self._numbers), denoiser)
        heapq.heappush(self._waiting, ticket)
        return ticket

    @torch.inference_mode()
    def step(self) -> list[Ticket]:
        """Run one step for all that are under way; returns those that are done with it."""
        self._active = [ticket for ticket in self._active if not ticket.cancelled]
        while self._waiting and len(self._active) < self._size:
            ticket = heapq.heappop(self._waiting)
            if not ticket.cancelled:
                self._active.append(ticket)
        denoisers = [ticket.denoiser for ticket in self._active if not ticket.denoiser.done]
        for layers in {d.plan().layers for d in denoisers}:
            self._advance([d for d in denoisers if d.plan().layers == layers])
        done = [ticket for ticket in self._active if ticket.denoiser.done]
        self._active = [ticket for ticket in self._active if not ticket.denoiser.done]
        return done

    def _advance(self, denoisers: Sequence[Denoiser]) -> None:
        forwards = [denoiser.plan() for denoiser in denoisers]
        logits = run(self._model, merged(forwards))
        sizes = [len(forward.wanted) for forward in forwards]
        shares: Sequence[Tensor] = torch.split(logits, sizes)
        for denoiser, share in zip(denoisers, shares, strict=True):
            denoiser.absorb(share)

    @property
    def idle(self) -> bool:
        return not self._active and not any(not t.cancelled for t in self._waiting)


def merged(forwards: Sequence[Forward]) -> Forward:
    """One forward pass over the rows of several, which run the same layers."""
    offsets = itertools.accumulate((len(f.ids) for f in forwards), initial=0)
    wanted = [f.wanted + offset for f, offset in zip(forwards, offsets, strict=False)]
    spans = tuple(span for forward in forwards for span in forward.spans)
    ids = torch.cat([forward.ids for forward in forwards])
    return Forward(ids, spans, torch.cat(wanted), forwards[0].layers)
