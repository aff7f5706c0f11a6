"""A linear layer with 8-bit floating-point weights, for GPUs that multiply them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dllm_core.ops.fp8 import FP8, quantize_rows, quantize_weight
from dllm_core.ops.linear import linear_fp8


class Fp8Linear(nn.Module):
    """A linear layer with weights in e4m3 and a scale per output channel.

    Inputs are quantised row by row. Scales per channel and per token (as in SmoothQuant's W8A8,
    arXiv 2211.10438) keep one position's outliers from coarsening the others. Takes and returns
    bfloat16.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight: Tensor
        self.scale: Tensor
        self.bias: Tensor | None
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)
        weight = torch.empty(out_features, in_features, dtype=FP8)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", torch.empty(out_features, dtype=torch.float32))

    def store_rows(self, start: int, rows: Tensor) -> None:
        """Quantise float `rows` (rows, in_features) and store them from row `start` on."""
        stop = start + len(rows)
        weight, scale = quantize_weight(rows.to(self.weight.device))
        self.weight[start:stop] = weight
        self.scale[start:stop] = scale

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in_features) -> (rows, out_features)."""
        rows, scale = quantize_rows(x)
        product: Tensor = linear_fp8(rows, scale, self.weight, self.scale, self.bias)
        return product
