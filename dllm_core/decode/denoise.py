"""What a denoiser is: it plans a forward pass and absorbs its logits, step by step.

It never runs the model itself, so that several of them can share one pass (batch.py). There are
three: a masked canvas (diffusion.py), a sliding causal one (fixed_point.py), and a whole reply of
canvases (answer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dllm_core.config import CachePolicy, ModelConfig
from dllm_core.decode.canvas import CanvasView
from dllm_core.errors import OptionError
from dllm_core.model.transformer import Span, Taps, Transformer


@dataclass(frozen=True, slots=True)
class Forward:
    """One sequence's share of a forward pass."""

    ids: Tensor
    """(rows,) of all spans, one after another."""
    spans: tuple[Span, ...]
    wanted: Tensor
    """Indices of the rows whose logits are needed."""
    layers: tuple[int, ...] | None = None
    taps: Taps | None = None
    """Hidden states that the pass is to leave behind."""
    parts: tuple[Forward, ...] = ()
    """Of which this one is made, if it serves several sequences."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and the positions they attend to: what a step's cost depends on."""
        return len(self.ids), self.spans[0].visible


class Denoiser(Protocol):
    """The state of one sequence that is being denoised."""

    @property
    def done(self) -> bool: ...

    @property
    def planned(self) -> int | None:
        """Number of steps, where it is known beforehand."""

    def plan(self) -> Forward:
        """The next forward pass; changes nothing."""

    def absorb(self, logits: Tensor) -> None:
        """Take the logits (wanted rows, vocab) of the planned pass and commit positions."""

    def final(self) -> list[int]:
        """Ids from the left that will not change any more."""

    def view(self) -> CanvasView: ...


def run(model: Transformer, forward: Forward) -> Tensor:
    """Logits (wanted rows, vocab) in float32."""
    hidden = model(forward.ids, forward.spans, forward.layers, forward.taps)
    _share_taps(forward)
    return model.logits(hidden[forward.wanted]).float()


def _share_taps(forward: Forward) -> None:
    """Give each sequence of a shared pass its own hidden states."""
    if forward.taps is None or not forward.parts:
        return
    sizes = [len(part.ids) for part in forward.parts]
    for part, rows in zip(forward.parts, torch.split(forward.taps.features, sizes), strict=True):
        if part.taps is not None:
            part.taps.features = rows


def resolve_policy(config: ModelConfig, policy: CachePolicy) -> CachePolicy:
    """What `auto` means for a model.

    Raises:
        OptionError: `exact` asked of a bidirectional model, an approximation of another.
    """
    causal = config.attention == "block_causal"
    if policy == "auto":
        return "exact" if causal else "none"
    if policy == "exact" and not causal:
        raise OptionError(
            "A bidirectional model has no exact cache, for every key depends on all positions: "
            "use none, prompt_frozen, prefix or dual."
        )
    if policy not in ("exact", "none") and causal:
        raise OptionError(f"A block-causal model has an exact cache: {policy} would only lose.")
    return policy


def finished_before(ids: Sequence[int], eos_ids: Sequence[int]) -> int:
    """Index of the first end-of-reply token, or the length."""
    return next((i for i, token in enumerate(ids) if token in eos_ids), len(ids))
