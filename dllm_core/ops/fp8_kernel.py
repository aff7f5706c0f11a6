"""Triton kernel of fp8.py, and the function with which other kernels quantise their rows.

Each program holds one row in registers: it is read once and written once. Predicted on an H100 for
64 rows of 4096 in bfloat16: 0.8 MB, 0.3 us of memory time; the launch dominates (about 2 us).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dllm_core.ops.fp8 import FP8, LARGEST, SMALLEST_SCALE
from dllm_core.ops.launch import dead, require_contiguous, rows_per_sequence, warps_for

_LARGEST = tl.constexpr(LARGEST)
_SMALLEST_SCALE = tl.constexpr(SMALLEST_SCALE)


@triton.jit
def quantized(row):
    """Quantise a float32 row in registers; returns the fp8 row and its scale."""
    scale = tl.maximum(tl.max(tl.abs(row), 0) / _LARGEST, _SMALLEST_SCALE)
    bounded = tl.minimum(tl.maximum(row / scale, -_LARGEST), _LARGEST)
    return bounded.to(tl.float8e4nv), scale


@triton.jit
def _quantize_rows(x, live, out, scales, rows, N: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    if dead(live, row // rows):
        return
    columns = tl.arange(0, BLOCK)
    inside = columns < N
    values = tl.load(x + row * N + columns, mask=inside, other=0.0).to(tl.float32)
    small, scale = quantized(values)
    tl.store(out + row * N + columns, small, mask=inside)
    tl.store(scales + row, scale)


def empty_rows(x: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Allocate fp8 rows (len(x), width) and their scales, float32 (len(x), 1)."""
    scales = torch.empty(len(x), 1, dtype=torch.float32, device=x.device)
    return torch.empty(len(x), width, dtype=FP8, device=x.device), scales


def quantize_rows(
    x: Tensor, live: Tensor | None = None, *, out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Run the kernel; see the reference in `fp8`."""
    require_contiguous(x=x)
    width = x.shape[1]
    quantized_rows, scales = empty_rows(x, width) if out is None else out
    block = triton.next_power_of_2(width)
    _quantize_rows[(len(x),)](
        x,
        live,
        quantized_rows,
        scales,
        rows_per_sequence(len(x), live),
        N=width,
        BLOCK=block,
        num_warps=warps_for(block),
    )
    return quantized_rows, scales
