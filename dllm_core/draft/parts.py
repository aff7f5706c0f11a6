"""What every kind of drafter is made of, once its file has been read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_core.cpu.product import Norm
from dllm_core.draft.calibration import Calibration
from dllm_core.draft.ngrams import Ngrams
from dllm_core.draft.proposal import Markov, Places
from dllm_core.model.quantize import Int8Linear, PackedLinear
from dllm_core.model.transformer import Linear, Transformer

AnyLinear = Linear | PackedLinear
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLayer:
    """How a layer makes keys and values of fused states."""

    keys_values: AnyLinear
    norm: Norm | None = None
    """Before them."""
    key_norm: Tensor | None = None
    """Weight (head_dim,) of the normalisation of every key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A drafter's weights, and what its kind does with them."""

    features: tuple[int, ...]
    """Layers of the base whose hidden states it reads."""
    block: int
    """Rows of a block: the last known token and masks."""
    first: int
    """The row that predicts the token after the last known one: 0 or 1."""
    model: Transformer
    """The layers of a block, its last norm and the head over `vocabulary`; its embedding is the
    base's."""
    whitening: tuple[Tensor, Tensor] | None
    """Mean and inverse deviation of the features."""
    fuse: AnyLinear
    fused_norm: Norm
    context: tuple[ContextLayer, ...]
    mask: Tensor
    """(hidden_size,)"""
    scale: float = 1.0
    """Of embedded rows."""
    position: Tensor | None = None
    """(block, hidden_size), added to the rows."""
    last: AnyLinear | None = None
    """From the last fused state to every row."""
    vocabulary: Places | None
    """Tokens that can be drafted; None is all."""
    markov: Markov | None = None
    ngrams: Ngrams | None = None
    calibration: Calibration

    @property
    def width(self) -> int:
        """Of the features of a position."""
        return len(self.features) * self.model.config.hidden_size


def linear_of(weight: Tensor, base: Transformer) -> AnyLinear:
    """A layer with these weights: packed in 8 bits where the base is packed."""
    kind = Int8Linear if isinstance(base.head, PackedLinear) else Linear
    layer = kind(weight.shape[1], weight.shape[0], bias=False)
    store(layer, weight)
    return layer


def kind_of(base: Transformer) -> type[Linear] | type[Int8Linear]:
    """The class of a drafter's layers."""
    return Int8Linear if isinstance(base.head, PackedLinear) else Linear


def store(layer: object, weight: Tensor) -> None:
    """Fill a layer."""
    if isinstance(layer, PackedLinear):
        layer.store_rows(0, weight.detach())
        return
    assert isinstance(layer, Linear)
    layer.weight.requires_grad_(False)
    layer.weight.copy_(weight.detach())
