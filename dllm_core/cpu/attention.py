"""Attention of one sequence in a forward pass, over keys and values that it also writes."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from dllm_core.cpu import team
from dllm_core.cpu.attention_kernel import AttentionKernel, Slot, scratch_bytes
from dllm_core.cpu.emit import LANES
from dllm_core.cpu.jit import Kernel, compiled
from dllm_core.cpu.workspace import Workspace, float_bits

_TILES = (1, 2, 4, 8)
"""Queries that a kernel takes through at once: one is compiled for each."""
_ARGUMENTS = ctypes.c_int64 * len(Slot)

_workspace = Workspace()


@dataclass(frozen=True, slots=True)
class Heads:
    """The shape of attention in a model."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    """Of the normalisation of queries and keys, where there is one."""

    @property
    def fit(self) -> bool:
        """Whether the kernel can do them: half a head is whole vectors."""
        return self.head_dim % (2 * LANES) == 0


@cache
def _kernel(head_dim: int, tile: int, portable: bool) -> Kernel:
    name = f"attention_{head_dim}_{tile}"
    return compiled(name, AttentionKernel(head_dim, tile), portable=portable)


def prepare(head_dim: int) -> None:
    """Compile every kernel for heads of this size before anybody waits for it."""
    for tile in _TILES:
        _kernel(head_dim, tile, False)


def attend(
    qkv: Tensor,
    out: Tensor,
    shape: Heads,
    tables: tuple[Tensor, Tensor],
    cache: tuple[Tensor, Tensor],
    start: int,
    visible: int,
    *,
    mask: Tensor | None = None,
    norms: tuple[Tensor, Tensor] | None = None,
    portable: bool = False,
) -> None:
    """Rotate queries and keys, store keys and values, and attend to what is visible.

    Args:
        qkv: float32 (rows, heads + 2 * kv_heads, head_dim) as one matrix; it is overwritten.
        out: float32 (rows, heads * head_dim), where the result goes.
        tables: cosine and signed sine of every row, (rows, 1, head_dim).
        cache: keys and values, float32 (kv_heads, capacity, head_dim).
        start: position of the first row.
        visible: positions 0 .. visible - 1 are attended to.
        mask: boolean (rows, visible), or None where every row sees them all.
        norms: weights of the normalisation of queries and keys, (head_dim,).
        portable: without instructions that only some processors have.
    """
    rows = len(qkv)
    queries = rows * (shape.heads // shape.kv_heads)
    tile = next((n for n in _TILES if n >= queries), _TILES[-1])
    scratch = scratch_bytes(visible, shape.head_dim, tile)
    keys, values = cache
    cos, sin = tables
    if mask is not None:
        mask = mask.contiguous()
    q_norm, k_norm = (0, 0) if norms is None else (weight.data_ptr() for weight in norms)
    (memory,) = _workspace.place((scratch * torch.get_num_threads(),))
    given = _ARGUMENTS(
        0, 0, 0, 0, qkv.data_ptr(), 4 * qkv.stride(0), rows, shape.heads, shape.kv_heads,
        cos.data_ptr(), sin.data_ptr(), q_norm, k_norm, float_bits(shape.eps),
        keys.data_ptr(), values.data_ptr(), 4 * keys.stride(0), start, visible,
        0 if mask is None else mask.data_ptr(),
        out.data_ptr(), 4 * out.stride(0), float_bits(1 / math.sqrt(shape.head_dim)),
        memory, scratch,
    )  # fmt: skip
    team.run(_kernel(shape.head_dim, tile, portable), given)
