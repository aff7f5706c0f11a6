"""Linear layers for few rows: torch's matrix product, or a kernel that streams the weights once.

Which is faster depends on shape and device, so each call says which it wants; `choice` is set
by whoever has measured.
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
    """x (R, k), weight (n, k), bias (n,) -> (R, n) in the dtype of x, summed in float32.

    On the device, `choice` is between torch (cuBLAS) and the kernel for up to 128 rows, which
    alone skips the calls that are not `live`.
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
    """A linear layer of fp8 rows with scales; returns bfloat16 (R, n).

    Args:
        x: fp8 (R, k); its row r stands for x[r] * x_scale[r].
        x_scale: float32 (R, 1).
        weight: fp8 (n, k).
        weight_scale: float32 (n,), one for each output channel.
        bias: (n,).
    """
    product = x.float() @ weight.float().T * x_scale * weight_scale
    if bias is not None:
        product += bias.float()
    rounded = product.to(torch.bfloat16)
    return rounded if out is None else out.copy_(rounded)


def linear_parts_reference(x: Tensor, weight: Tensor, live: Tensor | None = None) -> Tensor:
    """x (R, k), weight (n, k) -> float32 (parts, R, n), whose sum over the parts is the product.

    For layers with few outputs, whose sum the kernel splits: `add_rms_norm` takes the parts as
    they are, which saves a kernel. How many there are depends on shapes and device only.
    """
    return (x.float() @ weight.float().T)[None]


def linear_fp8_parts_reference(
    x: Tensor, x_scale: Tensor, weight: Tensor, weight_scale: Tensor, live: Tensor | None = None
) -> Tensor:
    """As `linear_parts`, of operands as `linear_fp8` takes them."""
    return (x.float() @ weight.float().T * x_scale * weight_scale)[None]


linear = Operation(linear_reference, "dllm_core.ops.linear_kernel:linear")
linear_fp8 = Operation(linear_fp8_reference, "dllm_core.ops.linear_kernel:linear_fp8")
linear_parts = Operation(linear_parts_reference, "dllm_core.ops.linear_kernel:linear_parts")
linear_fp8_parts = Operation(
    linear_fp8_parts_reference, "dllm_core.ops.linear_kernel:linear_fp8_parts"
)
