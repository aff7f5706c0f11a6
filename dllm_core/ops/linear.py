"""Linear layers for few rows: torch's matrix product, or a kernel that streams the weights once.

Which of the two is faster depends on shape and device: `choice` names one, and
`dllm_core.gpu.tuning` measures them.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dllm_core.ops.dispatch import Operation

Choice = Literal["torch", "triton"]


def linear_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    live: Tensor | None = None,
    *,
    choice: Choice = "triton",
    out: Tensor | None = None,
) -> Tensor:
    """Linear layer: x (R, k), weight (n, k), bias (n,) -> (R, n) in the dtype of x.

    Sums are taken in float32. On a GPU `choice` selects torch (cuBLAS) or the kernel, which is made
    for up to 128 rows and skips sequences that are not `live`; torch computes their rows, too.
    """
    product = F.linear(x, weight, bias)
    return product if out is None else out.copy_(product)


def linear_fp8_reference(
    x: Tensor,
    x_scale: Tensor,
    weight: Tensor,
    weight_scale: Tensor,
    bias: Tensor | None = None,
    live: Tensor | None = None,
    *,
    choice: Choice = "triton",
    out: Tensor | None = None,
) -> Tensor:
    """Linear layer of fp8 rows with scales; returns bfloat16 (R, n).

    Args:
        x: fp8 (R, k); row r has the values x[r] * x_scale[r].
        x_scale: float32 (R, 1).
        weight: fp8 (n, k).
        weight_scale: float32 (n,), one for each output channel.
        bias: (n,), or None.
        live: int32 (B,), 0 for sequences whose rows the kernel skips.
        choice: "torch" (cuBLAS) or "triton"; see `linear`.
        out: bfloat16 (R, n) to write to; None allocates it.

    Raises:
        OptionError: x or weight is not fp8 (the kernel only).
    """
    product = x.float() @ weight.float().T * x_scale * weight_scale
    if bias is not None:
        product += bias.float()
    rounded = product.to(torch.bfloat16)
    return rounded if out is None else out.copy_(rounded)


def linear_parts_reference(x: Tensor, weight: Tensor, live: Tensor | None = None) -> Tensor:
    """Product of x (R, k) and weight (n, k) as parts, float32 (parts, R, n), still to be summed.

    The kernel splits the sum of layers with few outputs; `add_rms_norm` takes the parts unsummed,
    which saves a kernel. The number of parts depends on shapes and device only.
    """
    return (x.float() @ weight.float().T)[None]


def linear_fp8_parts_reference(
    x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor, live: Tensor | None = None
) -> Tensor:
    """`linear_parts` for fp8 operands with scales, as `linear_fp8` takes them."""
    return (x.float() @ weight.float().T * x_scale * weight_scale)[None]


linear = Operation(linear_reference, "dllm_core.ops.linear_kernel:linear")
linear_fp8 = Operation(linear_fp8_reference, "dllm_core.ops.linear_kernel:linear_fp8")
linear_parts = Operation(linear_parts_reference, "dllm_core.ops.linear_kernel:linear_parts")
linear_fp8_parts = Operation(
    linear_fp8_parts_reference, "dllm_core.ops.linear_kernel:linear_fp8_parts"
)
