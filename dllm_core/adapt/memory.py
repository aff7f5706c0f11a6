"""Estimate of a training run's memory, made before any weights are loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from dllm_core.config import ModelConfig
from dllm_core.errors import TooLargeError
from dllm_core.model.lora import module_shapes

_GIB = 1 << 30
_ADAM = 4
"""Copies of the adapter in float32: weights, gradient and two moments."""
_LOGIT_COPIES = 3
"""Copies of the logits in float32: logits, log-softmax, gradient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes in use at the peak of a training step.

    Attributes:
        weights: weights of the base.
        adapter: the adapter with its gradient and the optimiser's moments.
        activations: activations kept for the backward pass.
        logits: logits and their copies.
        spare: a tenth of the sum, for the allocator's gaps and the kernels' buffers.
    """

    weights: int
    adapter: int
    activations: int
    logits: int
    spare: int

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return self.weights + self.adapter + self.activations + self.logits + self.spare

    def describe(self) -> str:
        """The total and its parts in GiB, for people."""
        parts = (
            f"weights {_gib(self.weights)}, adapter and optimiser {_gib(self.adapter)}, "
            f"activations {_gib(self.activations)}, logits {_gib(self.logits)}"
        )
        return f"{_gib(self.total)} in all: {parts}, spare {_gib(self.spare)}"


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"


def estimate(
    config: ModelConfig,
    *,
    rank: int,
    layers: tuple[int, ...] | None,
    sequences: int,
    length: int,
    canvas: int,
    weight_bytes: int,
    recompute: bool,
) -> MemoryEstimate:
    """Memory of a step over `sequences` of `length` positions, at most `canvas` of them hidden.

    Activations: a block keeps the inputs of its norms, projections and feed-forward, about
    4 hidden + 2 heads' widths + 3 inner widths a position; recomputing keeps one input a block
    and the activations of a single block.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    heads = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    rows = sequences * length
    per_block = rows * (6 * hidden + 2 * heads + 4 * inner) * weight_bytes
    # The boolean mask turns into floats within the attention kernel.
    per_block += sequences * length * length * weight_bytes
    kept = config.num_layers * rows * hidden * weight_bytes + per_block
    activations = kept if recompute else config.num_layers * per_block
    logits = sequences * canvas * config.vocab_size * 4 * _LOGIT_COPIES
    parts = (
        parameters(config) * weight_bytes,
        adapter_parameters(config, rank, layers) * 4 * _ADAM,
        activations,
        logits,
    )
    return MemoryEstimate(
        weights=parts[0],
        adapter=parts[1],
        activations=parts[2],
        logits=parts[3],
        spare=sum(parts) // 10,
    )


def parameters(config: ModelConfig) -> int:
    """Number of weights of the base, without norms."""
    linear = sum(rows * columns for rows, columns in module_shapes(config).values())
    tables = config.vocab_size * config.hidden_size
    return linear + tables * (1 if config.tied_head else 2)


def adapter_parameters(config: ModelConfig, rank: int, layers: tuple[int, ...] | None) -> int:
    """Number of trainable weights, without the mask embedding."""
    share = 1.0 if layers is None else len(layers) / config.num_layers
    total = sum(rank * (rows + columns) for rows, columns in module_shapes(config).values())
    return round(total * share)


def available(device: torch.device) -> int:
    """Bytes that are free on the device at this moment."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def check(needed: MemoryEstimate, free: int, device: torch.device) -> None:
    """Refuse a run that does not fit the memory.

    Raises:
        TooLargeError: with the needs of each part, and the options to lower.
    """
    if needed.total > free:
        raise TooLargeError(
            f"This run needs {needed.describe()}; {device} has {_gib(free)} free. Lower --batch "
            "or --longest, use --recompute or --dtype bfloat16, or take a smaller model."
        )
