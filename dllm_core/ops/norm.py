"""Root-mean-square normalisation (arXiv 1910.07467), alone or with the residual sum before it."""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_core.ops.dispatch import Operation
from dllm_core.ops.fp8 import quantize_rows_reference


def _normalize(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()


def _add(x: Tensor, residual: Tensor) -> Tensor:
    if x.dim() == 3:
        return (x.sum(0) + residual.float()).to(residual.dtype)
    return x + residual


def rms_norm_reference(
    x: Tensor, weight: Tensor, eps: float, live: Tensor | None = None, *, out: Tensor | None = None
) -> Tensor:
    """Normalise x (R, h) with weight (h,) to (R, h) in the dtype of x.

    Squares are summed in float32 and the result is rounded once. Rows of sequences that are not
    `live` are skipped; `out` (R, h) is written if given.
    """
    normed = _normalize(x, weight, eps).to(x.dtype)
    return normed if out is None else out.copy_(normed)


def add_rms_norm_reference(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    eps: float,
    live: Tensor | None = None,
    *,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Add x and residual (R, h) and normalise with weight (h,): the normalised sum and the sum.

    The sum is rounded to the dtype of the residual before it is normalised, as in an unfused
    model. `x` may also be the unsummed parts that `linear_parts` returns, float32 (parts, R, h).
    `out` are the two tensors to write to; the second may be `residual` itself.
    """
    total = _add(x, residual)
    normed = _normalize(total, weight, eps).to(residual.dtype)
    if out is None:
        return normed, total
    return out[0].copy_(normed), out[1].copy_(total)


def rms_norm_fp8_reference(
    x: Tensor,
    weight: Tensor,
    eps: float,
    live: Tensor | None = None,
    *,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """`rms_norm` with a result in fp8 (R, h) and its scales, float32 (R, 1)."""
    return quantize_rows_reference(_normalize(x, weight, eps), out=out)


def add_rms_norm_fp8_reference(
    x: Tensor,
    residual: Tensor,
    weight: Tensor,
    eps: float,
    live: Tensor | None = None,
    *,
    out: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`add_rms_norm` with results in fp8 (R, h), its scales, float32 (R, 1), and the sum."""
    total = _add(x, residual)
    quantized, scale = quantize_rows_reference(
        _normalize(total, weight, eps), out=None if out is None else out[:2]
    )
    return quantized, scale, total if out is None else out[2].copy_(total)


_KERNELS = "dllm_core.ops.norm_kernel"
rms_norm = Operation(rms_norm_reference, f"{_KERNELS}:rms_norm")
add_rms_norm = Operation(add_rms_norm_reference, f"{_KERNELS}:add_rms_norm")
rms_norm_fp8 = Operation(rms_norm_fp8_reference, f"{_KERNELS}:rms_norm_fp8")
add_rms_norm_fp8 = Operation(add_rms_norm_fp8_reference, f"{_KERNELS}:add_rms_norm_fp8")
