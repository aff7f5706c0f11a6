"""A token sequence with open positions: the only place that knows the mask token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_core.config import ModelConfig


class Canvas:
    """The prompt and the positions that are denoised after it, or inside it.

    `ids` (length,) int64 carries the mask token at open positions, `masked` (length,) bool
    says which those are, `free` which ever were. `begin` is the first of these.
    """

    def __init__(
        self, config: ModelConfig, ids: Sequence[int | None], device: torch.device
    ) -> None:
        # A model never taught to denoise has no mask token; under causal attention the
        # positions behind an open one do not matter, so any token may stand there.
        mask_id = next(iter(config.eos_ids), 0) if config.mask_id is None else config.mask_id
        self.mask_id = mask_id
        self.ids = torch.tensor([mask_id if i is None else i for i in ids], device=device)
        self.masked = torch.tensor([i is None for i in ids], device=device)
        self.free = self.masked.clone()
        self.begin = next((i for i, token in enumerate(ids) if token is None), len(ids))

    @classmethod
    def after(
        cls, config: ModelConfig, prompt: Sequence[int], length: int, device: torch.device
    ) -> Canvas:
        """`length` open positions after a prompt."""
        return cls(config, [*prompt, *[None] * length], device)

    def __len__(self) -> int:
        return len(self.ids)

    def open_in(self, start: int, stop: int) -> int:
        """Number of open positions in a range."""
        return int(self.masked[start:stop].sum())

    def commit(self, start: int, chosen: Tensor, ids: Tensor) -> None:
        """Write `ids` where `chosen` (both (rows,), from position `start` on) says so."""
        stop = start + len(chosen)
        self.ids[start:stop] = torch.where(chosen, ids, self.ids[start:stop])
        self.masked[start:stop] &= ~chosen

    def reopen(self, start: int, chosen: Tensor) -> None:
        """Mask positions again where `chosen` (rows,), from position `start` on, says so."""
        stop = start + len(chosen)
        self.ids[start:stop].masked_fill_(chosen, self.mask_id)
        self.masked[start:stop] |= chosen

    def without_prompt(self) -> Tensor:
        """The ids with everything before the first open position masked (for guidance)."""
        ids = self.ids.clone()
        ids[: self.begin] = self.mask_id
        return ids


@dataclass(frozen=True, slots=True)
class CanvasView:
    """The reply after one step, as plain values: what is final and what is still open."""

    ids: tuple[int, ...]
    masked: tuple[bool, ...]
    """True where the id is a guess or a mask that may still change."""
    confidence: tuple[float, ...]
    """Probability of each id when it was last predicted."""

    def __add__(self, later: CanvasView) -> CanvasView:
        return CanvasView(
            self.ids + later.ids, self.masked + later.masked, self.confidence + later.confidence
        )

    def first(self, count: int) -> CanvasView:
        return CanvasView(self.ids[:count], self.masked[:count], self.confidence[:count])
