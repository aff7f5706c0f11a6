"""The contract of a denoiser: it plans a forward pass and absorbs its logits, step by step.

A denoiser never runs the model itself, so that several can share one pass (batch.py). There are
three: a masked canvas (diffusion.py), a sliding causal canvas (fixed_point.py), and a whole
reply of canvases (reply_state.py).
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
    """One sequence's share of a forward pass.

    Attributes:
        ids: token ids (rows,) of all spans, one after another.
        spans: the rows of each sequence; two with guidance.
        wanted: indices of the rows whose logits are needed.
        layers: indices of the layers to run, or None for all.
        taps: hidden states that the pass is to leave for a drafter, or None.
        parts: the passes of which this one was merged; empty for a single sequence.
    """

    ids: Tensor
    spans: tuple[Span, ...]
    wanted: Tensor
    layers: tuple[int, ...] | None = None
    taps: Taps | None = None
    parts: tuple[Forward, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, positions they attend to), on which the cost of the step depends."""
        return len(self.ids), self.spans[0].visible


class Denoiser(Protocol):
    """The state of one sequence that is being denoised."""

    @property
    def done(self) -> bool:
        """Whether no further step follows."""

    @property
    def planned(self) -> int | None:
        """Number of steps, or None where the rule decides on the way."""

    def plan(self) -> Forward:
        """The next forward pass; changes nothing that is final."""

    def absorb(self, logits: Tensor) -> None:
        """Take the logits (wanted rows, vocab) of the planned pass and commit positions."""

    def final(self) -> list[int]:
        """Ids from the left that will not change any more."""

    def view(self) -> CanvasView:
        """All positions, final and open."""


def run(model: Transformer, forward: Forward) -> Tensor:
    """Run the pass; returns logits (wanted rows, vocab) in float32."""
    hidden = model(forward.ids, forward.spans, forward.layers, forward.taps)
    _share_taps(forward)
    return model.logits(hidden[forward.wanted]).float()


def _share_taps(forward: Forward) -> None:
    """Give each sequence of a merged pass its own hidden states."""
    if forward.taps is None or not forward.parts:
        return
    sizes = [len(part.ids) for part in forward.parts]
    features = torch.split(forward.taps.features, sizes)
    for part, rows in zip(forward.parts, features, strict=True):
        if part.taps is not None:
            part.taps.features = rows


def resolve_policy(config: ModelConfig, policy: CachePolicy) -> CachePolicy:
    """The cache policy of a model, with `auto` resolved.

    Raises:
        OptionError: `exact` for a bidirectional model, or an approximation for a block-causal
            one.
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
    """Number of ids before the first end-of-reply token; all of them if there is none."""
    return next((i for i, token in enumerate(ids) if token in eos_ids), len(ids))
