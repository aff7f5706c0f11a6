"""Triton kernels of linear.py; product_kernel.py explains the choice of tile sizes.

Predicted on an H100 at 3.35 TB/s, LLaDA-8B, up to 64 rows, of bfloat16 (fp8) weights:

| layer   |     n |     k | programs | weights        | memory time   |
|---------|-------|-------|----------|----------------|---------------|
| qkv     | 12288 |  4096 |       96 | 101 (50) MB    | 30.0 (15.0) us|
| out     |  4096 |  4096 |  32 x 4  |  34 (17) MB    | 10.0 (5.0) us |
| gate_up | 24576 |  4096 |      192 | 201 (101) MB   | 60.1 (30.0) us|
| down    |  4096 | 12288 |  32 x 4  | 101 (50) MB    | 30.0 (15.0) us|

The two layers that are split also write and read 4.2 MB of partial sums, in the L2 cache. The
kernel that adds them up costs a launch; `linear_parts` leaves the sum to the norm that follows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from dllm_core.errors import OptionError
from dllm_core.ops.launch import dead, require_contiguous, rows_per_sequence
from dllm_core.ops.linear import Choice
from dllm_core.ops.product_kernel import (
    Tile,
    is_fp8,
    product,
    sequences_per_tile,
    tile_for,
    tile_is_dead,
)

_FEW_ROWS = 128
_SUM_PIECE = 1024


@triton.jit
def _linear(
    x,
    weight,
    bias,
    x_scale,
    weight_scale,
    live,
    out,
    rows,
    R,
    N,
    K: tl.constexpr,
    SEQUENCES: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLITS: tl.constexpr,
    FP8: tl.constexpr,
):
    tile = tl.program_id(0)
    if tile_is_dead(live, tile, rows, R, BLOCK_M, SEQUENCES):
        return
    split = tl.program_id(2)
    m = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    steps: tl.constexpr = (K + BLOCK_K - 1) // BLOCK_K
    first = split * steps // SPLITS
    last = (split + 1) * steps // SPLITS
    acc = product(x, weight, m, n, R, N, first, last, K, BLOCK_M, BLOCK_N, BLOCK_K, FP8)
    if FP8:
        acc *= tl.load(x_scale + m, mask=m < R, other=0.0)[:, None]
        acc *= tl.load(weight_scale + n, mask=n < N, other=0.0)[None, :]
    if SPLITS == 1 and bias is not None:
        acc += tl.load(bias + n, mask=n < N, other=0.0).to(tl.float32)[None, :]
    row = split.to(tl.int64) * R + m
    place = out + row[:, None] * N + n[None, :]
    inside = (m < R)[:, None] & (n < N)[None, :]
    tl.store(place, acc.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _sum_parts(parts, bias, live, out, rows, R, N, BLOCK: tl.constexpr, SPLITS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    if dead(live, row // rows):
        return
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = n < N
    total = tl.zeros([BLOCK], tl.float32)
    for split in tl.static_range(SPLITS):
        total += tl.load(parts + (split * R + row) * N + n, mask=inside, other=0.0)
    if bias is not None:
        total += tl.load(bias + n, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * N + n, total.to(out.dtype.element_ty), mask=inside)


def _multiply(
    x: Tensor,
    x_scale: Tensor | None,
    weight: Tensor,
    weight_scale: Tensor | None,
    bias: Tensor | None,
    live: Tensor | None,
    out: Tensor,
    tile: Tile,
) -> None:
    """Write the product to `out`, (splits, R, n) or, without a split, (R, n)."""
    require_contiguous(x=x, weight=weight, bias=bias, out=out)
    count, width = len(x), len(weight)
    rows = rows_per_sequence(count, live)
    _linear[(triton.cdiv(count, tile.m), triton.cdiv(width, tile.n), tile.splits)](
        x,
        weight,
        bias,
        x_scale,
        weight_scale,
        live,
        out,
        rows,
        count,
        width,
        K=weight.shape[1],
        SEQUENCES=sequences_per_tile(rows, tile.m),
        BLOCK_M=tile.m,
        BLOCK_N=tile.n,
        BLOCK_K=tile.k,
        SPLITS=tile.splits,
        FP8=is_fp8(weight),
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


def _multiply_in_parts(
    x: Tensor,
    x_scale: Tensor | None,
    weight: Tensor,
    weight_scale: Tensor | None,
    live: Tensor | None,
    tile: Tile,
) -> Tensor:
    """Parts of the product, float32 (splits, R, n)."""
    shape = (tile.splits, len(x), len(weight))
    parts = torch.empty(shape, dtype=torch.float32, device=x.device)
    _multiply(x, x_scale, weight, weight_scale, None, live, parts, tile)
    return parts


def _launch(
    x: Tensor,
    x_scale: Tensor | None,
    weight: Tensor,
    weight_scale: Tensor | None,
    bias: Tensor | None,
    live: Tensor | None,
    out: Tensor,
    tile: Tile,
) -> None:
    if tile.splits == 1:
        _multiply(x, x_scale, weight, weight_scale, bias, live, out, tile)
        return
    require_contiguous(out=out)
    parts = _multiply_in_parts(x, x_scale, weight, weight_scale, live, tile)
    count, width = out.shape
    _sum_parts[(count, triton.cdiv(width, _SUM_PIECE))](
        parts,
        bias,
        live,
        out,
        rows_per_sequence(count, live),
        count,
        width,
        BLOCK=_SUM_PIECE,
        SPLITS=tile.splits,
    )


def linear_parts(x: Tensor, weight: Tensor, live: Tensor | None = None) -> Tensor:
    """Run the kernel; see the reference in `linear`."""
    return _multiply_in_parts(x, None, weight, None, live, tile_for(x, weight))


def linear_fp8_parts(
    x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor, live: Tensor | None = None
) -> Tensor:
    """Run the kernel; see the reference in `linear`."""
    return _multiply_in_parts(x, x_scale, weight, weight_scale, live, tile_for(x, weight))


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    live: Tensor | None = None,
    *,
    choice: Choice = "triton",
    out: Tensor | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """As the reference; `tile` overrides the sizes."""
    if choice == "torch":
        return _torch_linear(x, weight, bias, out)
    product_out = x.new_empty(len(x), len(weight)) if out is None else out
    _launch(x, None, weight, None, bias, live, product_out, tile or tile_for(x, weight))
    return product_out


def _torch_linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None) -> Tensor:
    if out is None:
        return F.linear(x, weight, bias)
    if bias is None:
        return torch.mm(x, weight.T, out=out)
    return torch.addmm(bias, x, weight.T, out=out)


def linear_fp8(
    x: Tensor,
    x_scale: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None = None,
    live: Tensor | None = None,
    *,
    choice: Choice = "triton",
    out: Tensor | None = None,
    tile: Tile | None = None,
) -> Tensor:
    """As the reference; `tile` overrides the sizes."""
    if not (is_fp8(x) and is_fp8(weight)):
        raise OptionError(f"linear_fp8 takes float8_e4m3fn, not {x.dtype} and {weight.dtype}.")
    product_out = out
    if product_out is None:
        shape = (len(x), len(weight))
        product_out = torch.empty(shape, dtype=torch.bfloat16, device=x.device)
    if choice == "torch":
        # With many rows the tensor cores are the limit; they are faster when they add with 14 bits.
        torch._scaled_mm(
            x,
            weight.T,
            scale_a=x_scale,
            scale_b=weight_scale[None],
            bias=bias,
            out_dtype=torch.bfloat16,
            use_fast_accum=len(x) > _FEW_ROWS,
            out=product_out,
        )
        return product_out
    tile = tile or tile_for(x, weight)
    _launch(x, x_scale, weight, weight_scale, bias, live, product_out, tile)
    return product_out
