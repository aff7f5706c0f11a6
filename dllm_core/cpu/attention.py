"""Attention of one sequence in a forward pass, with storage of its keys and values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache as cached
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dllm_core.cpu import team
from dllm_core.cpu.attention_kernel import AttentionKernel, scratch_bytes
from dllm_core.cpu.emit import LANES
from dllm_core.cpu.jit import Kernel, compiled
from dllm_core.cpu.team import Launch
from dllm_core.cpu.workspace import Workspace, float_bits

_TILES = (1, 2, 3, 4, 6, 8)
"""Numbers of queries that a kernel processes together; a kernel is compiled for each."""

_workspace = Workspace()


@dataclass(frozen=True, slots=True)
class Heads:
    """Shape of attention in a model.

    Attributes:
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: size of a head.
        eps: epsilon of the normalisation of queries and keys, in models that have it.
    """

    heads: int
    kv_heads: int
    head_dim: int
    eps: float

    @property
    def fit(self) -> bool:
        """Whether the kernel supports this shape: half a head must be whole vectors."""
        return self.head_dim % (2 * LANES) == 0


@cached
def _kernel(head_dim: int, tile: int, portable: bool) -> Kernel:
    name = f"attention_{head_dim}_{tile}"
    return compiled(name, AttentionKernel(head_dim, tile), portable=portable, keep=True)


def prepare(head_dim: int) -> None:
    """Compile all kernels for heads of this size; a second or so."""
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
    """Rotate queries and keys, store keys and values, and attend to the visible positions.

    Args:
        qkv: float32 (rows, (heads + 2 * kv_heads) * head_dim); it is overwritten.
        out: float32 (rows, heads * head_dim), receives the result.
        shape: the heads.
        tables: cosine and signed sine of every row, float32 (rows, 1, head_dim).
        cache: keys (kv_heads, blocks, head_dim, 16), see key_blocks.py, and values (kv_heads,
            blocks * 16, head_dim), float32, written at the rows.
        start: position of the first row.
        visible: number of positions to attend to, from position 0.
        mask: boolean (rows, visible), or None if every row sees all of them.
        norms: weights of the normalisation of queries and keys, (head_dim,), if there is one.
        portable: use only instructions that all processors of this kind have.
    """
    size = workspace_size(len(qkv), shape, visible)
    (memory,) = _workspace.place((size,))
    (keys, values), (cos, sin) = cache, tables
    # The kernel gets an address, so the mask must outlive the run.
    mask = None if mask is None else mask.contiguous()
    attending = launch(
        qkv,
        out,
        shape,
        SpanAddresses(start, visible, cos.data_ptr(), sin.data_ptr()),
        (keys.data_ptr(), values.data_ptr(), 4 * keys.stride(0)),
        memory,
        mask=mask,
        norms=norms,
        portable=portable,
    )
    team.run(attending)


class SpanAddresses(NamedTuple):
    """Positions of the rows of a sequence, and addresses of their rotary tables."""

    start: int
    visible: int
    cos: int
    sin: int


@lru_cache(1024)
def _best_tile(queries: int, kv_heads: int, threads: int) -> int:
    """Size of tiles that takes the thread with most of them the least time.

    A tile loads a vector of keys and one number of each query for as many products. Results are
    the same with every size.
    """

    def time(tile: int) -> int:
        return -(-kv_heads * -(-queries // tile) // threads) * (1 + tile)

    return min(reversed(_TILES), key=time)


def tile_of(rows: int, shape: Heads) -> int:
    """Number of queries that the kernel processes together, with torch's number of threads."""
    queries = rows * (shape.heads // shape.kv_heads)
    return _best_tile(queries, shape.kv_heads, torch.get_num_threads())


def workspace_size(rows: int, shape: Heads, visible: int) -> int:
    """Bytes of scratch memory for `visible` positions, over all threads."""
    each = scratch_bytes(visible, shape.head_dim, tile_of(rows, shape))
    return each * torch.get_num_threads()


def launch(
    qkv: Tensor,
    out: Tensor,
    shape: Heads,
    span: SpanAddresses,
    cache: tuple[int, int, int],
    memory: int,
    *,
    mask: Tensor | None = None,
    norms: tuple[Tensor, Tensor] | None = None,
    portable: bool = False,
) -> Launch:
    """Prepare a launch of the kernel, which `team.run` or a `team.Program` runs.

    Args:
        cache: addresses of keys and values, and bytes from head to head.
        memory: address of `workspace_size` bytes.

    For the others see `attend`.
    """
    tile = tile_of(len(qkv), shape)
    q_norm, k_norm = (0, 0) if norms is None else (weight.data_ptr() for weight in norms)
    arguments = (
        qkv.data_ptr(), 4 * qkv.stride(0), len(qkv), shape.heads, shape.kv_heads,
        span.cos, span.sin, q_norm, k_norm, float_bits(shape.eps),
        *cache, span.start, span.visible, 0 if mask is None else mask.data_ptr(),
        out.data_ptr(), 4 * out.stride(0), float_bits(1 / math.sqrt(shape.head_dim)),
        memory, scratch_bytes(span.visible, shape.head_dim, tile),
    )  # fmt: skip
    return Launch(_kernel(shape.head_dim, tile, portable), arguments)
