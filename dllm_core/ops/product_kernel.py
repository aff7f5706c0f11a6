"""Tile of a matrix product that linear_kernel.py and head_kernel.py share, and its sizes.

For the few rows of a canvas a linear layer is bound by its weights: each is read once from memory,
by one program, and the rows (half a megabyte) come from the L2 cache repeatedly. The sizes follow
from:

- *Bytes in flight.* 3.35 TB/s at about 700 ns of latency need 2.3 MB under way, 18 KB per
  processor of an H100. A stage holds 16 KB of weights, so four stages of two programs per
  processor, or six of one, are ample.
- *L2 traffic.* A tile of n weights reads rows of the canvas beside them: with 64 rows, n = 128
  makes 1.5 bytes of L2 traffic per byte of memory traffic (5.0 TB/s, what the cache gives),
  n = 64 two. Narrower tiles would be bound by the cache.
- *Balance.* All programs are resident at once wherever the grid allows it; then they share the
  memory evenly and end together. Where n gives fewer tiles than there are processors (4096: 32
  tiles), the sum is split along k, and the parts are added up by a second kernel.
- Each row of a stage is 128 bytes: one swizzle of the tensor cores' shared memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from dllm_core.ops.launch import processors

_STAGE_ROW_BYTES = 128
_MOST_ROWS = 128
_SHARED_BYTES = 224 * 1024
"""Shared memory of one program on a Hopper GPU, less Triton's own use beside the stages."""
_MOST_SUMS = 128 * 128
"""Number of float32 sums that fit the registers of a program's warps."""
_LEAST_CHUNKS = 4
"""Least number of steps along k in a part of the sum."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Sizes of one program of a matrix product.

    Attributes:
        m: rows of the canvas.
        n: rows of the weight.
        k: elements of the sum per step.
        splits: parts of the sum along k, each a program of its own.
        warps: warps of a program.
        stages: steps whose loads are under way or in use.
    """

    m: int
    n: int
    k: int
    splits: int
    warps: int
    stages: int

    def shared_bytes(self, itemsize: int) -> int:
        """Bytes of shared memory for all stages, with elements of `itemsize` bytes."""
        return self.stages * (self.m + self.n) * self.k * itemsize


_measured: dict[tuple[int, int, int, torch.dtype], Tile] = {}


def _key(x: Tensor, weight: Tensor) -> tuple[int, int, int, torch.dtype]:
    return (*x.shape, len(weight), weight.dtype)


def remember(x: Tensor, weight: Tensor, tile: Tile) -> None:
    """Use this tile for operands of these shapes from now on; see tune.py."""
    _measured[_key(x, weight)] = tile


def tile_for(x: Tensor, weight: Tensor, *, may_split: bool = True) -> Tile:
    """Tile for x (R, k) and weight (n, k): a measured one, else one calculated for an H100."""
    known = _measured.get(_key(x, weight))
    return _calculated(x, weight, may_split) if known is None else known


def _calculated(x: Tensor, weight: Tensor, may_split: bool) -> Tile:
    m = min(_MOST_ROWS, max(16, triton.next_power_of_2(len(x))))
    n = 128
    k = _STAGE_ROW_BYTES // weight.element_size()
    programs = triton.cdiv(len(x), m) * triton.cdiv(len(weight), n)
    room = processors(x.device)
    chunks = triton.cdiv(weight.shape[1], k)
    splits = 1
    if may_split and programs < 0.7 * room:
        splits = max(1, min(8, round(room / programs), chunks // _LEAST_CHUNKS))
    alone = programs * splits <= room
    stages = 6 if alone else (4 if m <= 64 else 3)
    return Tile(m, n, k, splits, warps=8 if m == _MOST_ROWS else 4, stages=stages)


def candidates(x: Tensor, weight: Tensor, *, may_split: bool = True) -> list[Tile]:
    """Tiles worth measuring, the calculated one first; all fit the shared memory."""
    first = _calculated(x, weight, may_split)
    size = weight.element_size()
    splits = sorted({1, 2, first.splits, 2 * first.splits}) if may_split else [1]
    tiles = [
        replace(first, n=n, k=k, splits=parts, stages=stages)
        for n in (64, 128, 256)
        for k in (first.k, 2 * first.k)
        for parts in splits
        for stages in (3, 4, 6)
        if n * first.m <= _MOST_SUMS and parts * k * _LEAST_CHUNKS <= weight.shape[1]
    ]
    fitting = [t for t in tiles if t != first and t.shared_bytes(size) <= _SHARED_BYTES]
    return [first, *fitting]


@triton.jit
def tile_is_dead(live, tile, rows, R, M: tl.constexpr, SEQUENCES: tl.constexpr):
    """Whether all rows of a tile (M of the R rows) belong to dead sequences."""
    if live is None:
        return False
    else:
        last = (tl.minimum((tile + 1) * M, R) - 1) // rows
        sequence = tile * M // rows + tl.arange(0, SEQUENCES)
        return tl.max(tl.load(live + sequence, mask=sequence <= last, other=0), 0) == 0


def sequences_per_tile(rows: int, m: int) -> int:
    """Upper bound, a power of two, on the number of sequences with a row in a tile of m rows."""
    return int(triton.next_power_of_2(m // rows + 2))


@triton.jit
def product(
    x,
    weight,
    m,
    n,
    R,
    N,
    first,
    last,
    K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    FP8: tl.constexpr,
):
    """Multiply rows m of x with rows n of weight over steps first .. last - 1 along k, in float32.

    Rows beyond the edges wrap around, which saves masks; the caller does not store them.
    """
    k = tl.arange(0, BLOCK_K)
    left = x + (m % R).to(tl.int64)[:, None] * K + (first * BLOCK_K + k)[None, :]
    right = weight + (n % N).to(tl.int64)[None, :] * K + (first * BLOCK_K + k)[:, None]
    acc = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for step in range(first, last):
        if K % BLOCK_K == 0:
            a = tl.load(left)
            b = tl.load(right)
        else:
            inside = step * BLOCK_K + k < K
            a = tl.load(left, mask=inside[None, :], other=0.0)
            b = tl.load(right, mask=inside[:, None], other=0.0)
        if FP8:
            # The tensor cores add 8-bit products with 14 bits: take each step's sum out of them.
            acc = tl.dot(a, b, acc, max_num_imprecise_acc=BLOCK_K)
        else:
            acc = tl.dot(a, b, acc, input_precision="ieee")
        left += BLOCK_K
        right += BLOCK_K
    return acc


def is_fp8(tensor: Tensor) -> bool:
    """Whether a tensor is fp8 (e4m3)."""
    return tensor.dtype == torch.float8_e4m3fn
