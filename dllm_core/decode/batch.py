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

from dllm_core.decode.denoise import Denoiser, Forward, run
from dllm_core.decode.drafting import draft_together
from dllm_core.errors import QueueFullError
from dllm_core.model.transformer import Transformer


@dataclass(order=True, slots=True)
class Ticket:
    """One request; they are served by earliest due time, then in order of arrival."""

    due: float
    number: int
    denoiser: Denoiser = field(compare=False)
    cancelled: bool = field(default=False, compare=False)
    error: Exception | None = field(default=None, compare=False)
    """Why this reply cannot go on."""

    def cancel(self) -> None:
        """Leave the batch at the next step boundary, or the queue."""
        self.cancelled = True


class Batch:
    """A step-synchronous batch: requests join and leave between two steps.

    At most `size` are under way and `queue` wait. A request without a due time is due
    `patience` seconds after it came, so that urgent ones cannot keep it waiting for ever.
    With `rows`, a step takes no more of them in all (one request always): the earliest due go.
    A request that fails leaves with its `error`, which is for whoever submitted it.
    """

    def __init__(
        self,
        model: Transformer,
        *,
        size: int = 8,
        rows: int | None = None,
        queue: int = 64,
        patience: float = 5.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._model, self._size, self._rows, self._queue = model, size, rows, queue
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
    def step(self, first: Ticket | None = None) -> list[Ticket]:
        """Run one step; returns those that are done with it.

        `first` is certainly served, though others are due earlier or it still waits.
        """
        self._active = [ticket for ticket in self._active if not ticket.cancelled]
        if first in self._waiting:
            self._waiting.remove(first)
            heapq.heapify(self._waiting)
            self._active.append(first)
        while self._waiting and len(self._active) < self._size:
            ticket = heapq.heappop(self._waiting)
            if not ticket.cancelled:
                self._active.append(ticket)
        riders = self._riders(first)
        for layers in {forward.layers for _, forward in riders}:
            self._advance([rider for rider in riders if rider[1].layers == layers])
        done = [ticket for ticket in self._active if ticket.denoiser.done]
        self._active = [ticket for ticket in self._active if not ticket.denoiser.done]
        return done

    def _riders(self, first: Ticket | None) -> list[tuple[Ticket, Forward]]:
        """Whose rows go into this step."""
        self._draft()
        riders: list[tuple[Ticket, Forward]] = []
        rows = 0
        for ticket in sorted(self._active, key=lambda t: (t is not first, t)):
            if ticket.denoiser.done:
                continue
            forward = ticket.denoiser.plan()
            rows += len(forward.ids)
            if riders and self._rows is not None and rows > self._rows:
                break
            riders.append((ticket, forward))
        return riders

    def _draft(self) -> None:
        """Let the drafters of all replies that have one work together."""
        drafting = [
            found
            for ticket in self._active
            if not ticket.denoiser.done
            and (found := getattr(ticket.denoiser, "drafting", None)) is not None
        ]
        for each in drafting:
            if self._rows is not None:
                each.most_rows = max(1, min(each.most_rows, self._rows // len(drafting)))
        draft_together(drafting)

    def _advance(self, riders: Sequence[tuple[Ticket, Forward]]) -> None:
        forwards = [forward for _, forward in riders]
        logits = run(self._model, merged(forwards))
        shares: Sequence[Tensor] = torch.split(logits, [len(f.wanted) for f in forwards])
        for (ticket, _), share in zip(riders, shares, strict=True):
            try:
                ticket.denoiser.absorb(share)
            except Exception as error:  # one reply's fault, whatever it is, is not its neighbours'
                ticket.error, ticket.cancelled = error, True

    @property
    def idle(self) -> bool:
        return not self._active and not any(not t.cancelled for t in self._waiting)


def merged(forwards: Sequence[Forward]) -> Forward:
    """One forward pass over the rows of several, which run the same layers."""
    if len(forwards) == 1:
        return forwards[0]
    offsets = itertools.accumulate((len(f.ids) for f in forwards), initial=0)
    wanted = [f.wanted + offset for f, offset in zip(forwards, offsets, strict=False)]
    spans = tuple(span for forward in forwards for span in forward.spans)
    ids = torch.cat([forward.ids for forward in forwards])
    first = forwards[0]
    tapped = next((f.taps for f in forwards if f.taps is not None), None)
    taps = None if tapped is None else tapped.wider(len(ids))
    return Forward(ids, spans, torch.cat(wanted), first.layers, taps, tuple(forwards))
