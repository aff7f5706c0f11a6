"""Linear layers with int8 weights for CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FINE = 254.0
"""A coarse step is divided into this many fine ones: its half is then 127 of them."""


class Int8Linear(nn.Module):
    """A linear layer with int8 weights (one scale per row) and 16-bit inputs.

    The input is the sum of a coarse and a fine int8 part, both multiplied in one product over
    twice the rows: the weights, whose reading is what costs at the few rows of a canvas, are
    read once. With the coarse part alone a 135M model replies visibly worse. Each position is
    scaled by its own maximum, so that it does not depend on its neighbours on the canvas.
    `torch._int_mm` uses the VNNI instructions where the CPU has them.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight: Tensor
        self.scale: Tensor
        self.bias: Tensor | None
        weight = torch.empty(out_features, in_features, dtype=torch.int8)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", torch.empty(out_features))
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)

    def store_rows(self, start: int, rows: Tensor) -> None:
        """Quantise float `rows` of the weight and store them from row `start` on."""
        peak = _peak(rows)
        stop = start + len(rows)
        self.weight[start:stop] = (rows * (127.0 / peak)).round_().to(torch.int8)
        self.scale[start:stop] = peak.squeeze(-1).div_(127.0)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in_features) float32 -> (rows, out_features) float32."""
        peak = _peak(x)
        scaled = x * (127.0 / peak)
        coarse = scaled.round()
        fine = scaled.sub_(coarse).mul_(_FINE).round_()
        parts = torch.cat([coarse, fine]).to(torch.int8)
        high, low = torch._int_mm(parts, self.weight.t()).chunk(2)
        y = high + low * (1.0 / _FINE)
        y.mul_(self.scale).mul_(peak.div_(127.0))
        return y if self.bias is None else y.add_(self.bias)


def _peak(x: Tensor) -> Tensor:
    """Largest magnitude of every row, never zero: (rows, n) -> (rows, 1)."""
    norm: Tensor = torch.linalg.vector_norm(x, torch.inf, dim=-1, keepdim=True)
    return norm.clamp_min_(1e-12)
