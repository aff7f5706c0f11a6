"""Quantisation to 8-bit floating point (e4m3): rows of activations and weights, a scale per row.

The format has a largest value of 448 and no infinity (FP8 Formats for Deep Learning, arXiv
2209.05433). A row is divided by its largest magnitude over 448, so `row = quantized * scale`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_core.ops.dispatch import Operation

FP8 = torch.float8_e4m3fn
LARGEST = 448.0
SMALLEST_SCALE = 1e-12
"""Least scale, by which a row of zeros is divided."""


def quantize_rows_reference(
    x: Tensor, live: Tensor | None = None, *, out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Quantise x (R, n) to fp8 (R, n) with scales, float32 (R, 1).

    Args:
        live: int32 (B,), 0 for sequences whose rows are skipped.
        out: rows and scales to write to; None allocates them.
    """
    wide = x.float()
    scale = (wide.abs().amax(-1, keepdim=True) / LARGEST).clamp_min(SMALLEST_SCALE)
    # Rounding may exceed the largest value by a little, which would become NaN.
    quantized = (wide / scale).clamp(-LARGEST, LARGEST).to(FP8)
    if out is None:
        return quantized, scale
    return out[0].copy_(quantized), out[1].copy_(scale)


quantize_rows = Operation(quantize_rows_reference, "dllm_core.ops.fp8_kernel:quantize_rows")


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise weight (n, k) to fp8 (n, k) with a scale per output channel, float32 (n,).

    This runs in slices while weights are loaded, so that a whole matrix is never copied to
    float32.
    """
    quantized = torch.empty(weight.shape, dtype=FP8, device=weight.device)
    scale = torch.empty(len(weight), 1, dtype=torch.float32, device=weight.device)
    for begin in range(0, len(weight), _SLICE):
        rows = slice(begin, begin + _SLICE)
        quantize_rows_reference(weight[rows], out=(quantized[rows], scale[rows]))
    return quantized, scale.squeeze(-1)


_SLICE = 4096
"""Rows that are quantised at a time."""
