"""A token sequence with open positions. Only this module writes the mask token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_core.config import ModelConfig


class Canvas:
    """A prompt and the open positions after it or inside it.

    Args:
        config: the model's configuration, which has the mask token.
        ids: token ids of the whole sequence; None for an open position.
        device: torch device of the tensors.

    Attributes:
        ids: (length,) int64; the mask token at open positions.
        masked: (length,) bool; the positions that are open now.
        free: (length,) bool; the positions that were open at first.
        begin: the first of these, or the length if there is none.
        mask_id: the token of open positions.
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
        """A canvas of `length` open positions after a prompt."""
        return cls(config, [*prompt, *[None] * length], device)

    def __len__(self) -> int:
        return len(self.ids)

    def open_in(self, start: int, stop: int) -> int:
        """Number of open positions from `start` to before `stop`."""
        return int(self.masked[start:stop].sum())

    def commit(self, start: int, chosen: Tensor, ids: Tensor) -> None:
        """Make positions final: write `ids` where `chosen` is true.

        Both are (rows,), for the positions from `start` on.
        """
        stop = start + len(chosen)
        self.ids[start:stop] = torch.where(chosen, ids, self.ids[start:stop])
        self.masked[start:stop] &= ~chosen

    def reopen(self, start: int, chosen: Tensor) -> None:
        """Open positions again where `chosen` (rows,), from position `start` on, is true."""
        stop = start + len(chosen)
        self.ids[start:stop].masked_fill_(chosen, self.mask_id)
        self.masked[start:stop] |= chosen

    def without_prompt(self) -> Tensor:
        """The ids (length,) with all before the first open position masked, for guidance."""
        ids = self.ids.clone()
        ids[: self.begin] = self.mask_id
        return ids


@dataclass(frozen=True, slots=True)
class CanvasView:
    """The positions of a reply after one step, as plain values.

    Attributes:
        ids: token id of each position.
        masked: whether the position is open: its id is a guess, or the mask token.
        confidence: probability of each id when it was last predicted, 0 to 1.
    """

    ids: tuple[int, ...]
    masked: tuple[bool, ...]
    confidence: tuple[float, ...]

    def __add__(self, later: CanvasView) -> CanvasView:
        return CanvasView(
            self.ids + later.ids, self.masked + later.masked, self.confidence + later.confidence
        )

    def first(self, count: int) -> CanvasView:
        """The view of the first `count` positions."""
        return CanvasView(self.ids[:count], self.masked[:count], self.confidence[:count])
