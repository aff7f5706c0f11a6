"""Plan of a GPU's memory: weights, pages of keys and values, and workspace."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dllm_core.config import ModelConfig
from dllm_core.errors import PagesFullError
from dllm_core.model.pages import pages_for
from dllm_core.ops import PAGE

LIBRARIES = 1536 * 2**20
"""Bytes reserved for CUDA's context, cuBLAS's workspaces and the modules of kernels."""

_WIDE = 4
"""Bytes of the widest number in a computation, float32."""


def page_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes of one page: keys and values of all layers."""
    row = config.num_kv_heads * config.head_dim * dtype.itemsize
    return 2 * config.num_layers * PAGE * row


def block_weights(config: ModelConfig) -> int:
    """Number of weights in the matrices of one block."""
    heads = config.num_heads + 2 * config.num_kv_heads
    attention = config.hidden_size * config.head_dim * (heads + config.num_heads)
    return attention + 3 * config.hidden_size * config.intermediate_size


def weight_bytes(config: ModelConfig, dtype: torch.dtype, matrices: torch.dtype) -> int:
    """Bytes of all weights; `matrices` is the dtype of the blocks' projections."""
    tables = 1 if config.tied_head else 2
    outside = tables * config.vocab_size * config.hidden_size * dtype.itemsize
    return outside + config.num_layers * block_weights(config) * matrices.itemsize


def workspace_bytes(config: ModelConfig, rows: int, context: int) -> int:
    """Upper estimate of the bytes of one forward pass over `rows` rows: all intermediates at once.

    Reading a prompt also gathers one layer's keys and values of a sequence.
    """
    heads = config.num_heads + 2 * config.num_kv_heads
    width = 8 * config.hidden_size + 2 * heads * config.head_dim + 4 * config.intermediate_size
    read = max(rows, context)
    side_by_side = 2 * context * config.num_kv_heads * config.head_dim
    return _WIDE * (read * width + side_by_side) + read * context * _WIDE


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Shares of a device's free memory: workspace and pages.

    Attributes:
        free: bytes that are free after the weights were loaded.
        workspace: bytes reserved for computing.
        page: bytes of a page.
        context: longest prompt plus reply of a sequence, in tokens.
    """

    free: int
    workspace: int
    page: int
    context: int

    @classmethod
    def of(
        cls, config: ModelConfig, dtype: torch.dtype, context: int, rows: int, free: int
    ) -> MemoryPlan:
        """Make a plan for passes of at most `rows` rows over all sequences, in `free` bytes."""
        workspace = LIBRARIES + workspace_bytes(config, rows, context)
        return cls(free, workspace, page_bytes(config, dtype), context)

    @property
    def pages_of_a_sequence(self) -> int:
        """Pages of a sequence at its full context."""
        return pages_for(self.context, PAGE)

    def pages(self, sequences: int) -> int:
        """Pages of a pool for at most `sequences` sequences, the scratch page included.

        Raises:
            PagesFullError: there is no room for a single sequence.
        """
        room = (self.free - self.workspace) // self.page
        if room < self.pages_of_a_sequence + 1:
            raise PagesFullError(
                f"A sequence of {self.context} tokens takes "
                f"{self.pages_of_a_sequence * self.page / 2**30:.2f} GiB of keys and values, and "
                f"{max(0, self.free - self.workspace) / 2**30:.2f} GiB are left beside the "
                "weights: load the engine with a smaller context, or the weights as fp8."
            )
        return int(min(room, sequences * self.pages_of_a_sequence + 1))

    def sequences(self, pages: int) -> int:
        """Sequences without a shared prefix that a pool of `pages` pages admits."""
        return (pages - 1) // self.pages_of_a_sequence
