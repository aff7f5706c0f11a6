"""Several sequences denoised in step: one forward pass serves all that are under way.

The rows of the sequences are laid one after another, without padding, and every sequence
attends to its own keys and values only (model/transformer.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from time import monotonic

import torch
from torch import Tensor

from dllm_core.decode.denoise import Denoiser, Forward, run
from dllm_core.decode.drafting import Drafts, draft_together
from dllm_core.decode.requests import Requests, Ticket
from dllm_core.model.transformer import Transformer


class Batch:
    """A step-synchronous batch: requests join and leave between two steps.

    Args:
        model: the transformer that all sequences run through.
        size: most requests under way.
        rows: most rows of one step; the earliest due requests go first, one always goes. None
            sets no bound.
        queue: most requests that wait.
        patience: seconds after which a request without a due time is due.
        clock: monotonic seconds.

    A request that fails leaves with its `error`; the others go on. Not thread-safe.
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
        self._model, self._rows = model, rows
        self._requests: Requests[Denoiser] = Requests(
            size=size, queue=queue, patience=patience, clock=clock
        )

    def submit(self, denoiser: Denoiser, due: float | None = None) -> Ticket[Denoiser]:
        """Add a sequence; `due` is in seconds on the batch's clock.

        Raises:
            QueueFullError: `queue` requests wait already.
        """
        return self._requests.submit(denoiser, due)

    @torch.inference_mode()
    def step(self, first: Ticket[Denoiser] | None = None) -> list[Ticket[Denoiser]]:
        """Run one step; returns the requests that are done with it.

        `first` is certainly served, even if others are due earlier or it still waits.
        """
        self._requests.admit(first)
        riders = self._riders(first)
        for layers in {forward.layers for _, forward in riders}:
            self._advance([rider for rider in riders if rider[1].layers == layers])
        done = [ticket for ticket in self._requests.active if ticket.work.done]
        self._requests.drop_over()
        return done

    def _riders(self, first: Ticket[Denoiser] | None) -> list[tuple[Ticket[Denoiser], Forward]]:
        """The requests whose rows go into this step, and those rows."""
        self._draft()
        riders: list[tuple[Ticket[Denoiser], Forward]] = []
        rows = 0
        for ticket in sorted(self._requests.active, key=lambda t: (t is not first, t)):
            forward = ticket.work.plan()
            rows += len(forward.ids)
            if riders and self._rows is not None and rows > self._rows:
                break
            riders.append((ticket, forward))
        return riders

    def _draft(self) -> None:
        """Draft for all replies under the rule `draft` in one pass of their drafter.

        The rows of a step are shared out among them.
        """
        works = [ticket.work for ticket in self._requests.active]
        found = [work.drafting for work in works if isinstance(work, Drafts)]
        drafting = [each for each in found if each is not None]
        for each in drafting:
            if self._rows is not None:
                each.limit_rows(self._rows // len(drafting))
        draft_together(drafting)

    def _advance(self, riders: Sequence[tuple[Ticket[Denoiser], Forward]]) -> None:
        forwards = [forward for _, forward in riders]
        logits = run(self._model, merged(forwards))
        shares: Sequence[Tensor] = [logits]
        if len(forwards) > 1:
            shares = torch.split(logits, [len(f.wanted) for f in forwards])
        for (ticket, _), share in zip(riders, shares, strict=True):
            try:
                ticket.work.absorb(share)
            except Exception as error:  # any error concerns this request alone
                ticket.error = error

    @property
    def idle(self) -> bool:
        """Whether no request waits or is under way."""
        return self._requests.idle


def merged(forwards: Sequence[Forward]) -> Forward:
    """One forward pass over the rows of several, which run the same layers."""
    if len(forwards) == 1:
        return forwards[0]
    offsets = itertools.accumulate((len(f.ids) for f in forwards), initial=0)
    wanted = [f.wanted + offset for f, offset in zip(forwards, offsets, strict=False)]
    spans = tuple(span for forward in forwards for span in forward.spans)
    ids = torch.cat([forward.ids for forward in forwards])
    tapped = next((f.taps for f in forwards if f.taps is not None), None)
    taps = None if tapped is None else tapped.wider(len(ids))
    return Forward(ids, spans, torch.cat(wanted), forwards[0].layers, taps, tuple(forwards))
