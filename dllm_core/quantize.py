"""Linear layers with weights of 8 bits, or of the 4 bits that a checkpoint has, for CPUs."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

_FINE = 254.0
"""A coarse step is divided into this many fine ones: its half is then 127 of them."""

_GROUP = 32
"""Weights that share a scale and a least value in Q4_1, the 4-bit format of GGUF."""
_TILE = 64
"""Rows that torch's 4-bit packing lays together."""


class Int4Rows:
    """Weight rows of 4 bits with a scale and an offset per group of 32, as GGUF's Q4_1 has them.

    No weight is rounded anew; scales, inputs and outputs are bfloat16, sums are float32. Reading
    half of what int8 reads, the kernel is the fastest at the few rows of a canvas. This class is
    the only user of torch's private 4-bit functions.
    """

    def __init__(self, packed: Tensor, scales: Tensor) -> None:
        """packed: what torch makes of the rows; scales (groups, rows, 2): scale and offset."""
        self._packed, self._scales = packed, scales

    @classmethod
    def of(cls, rows: Tensor) -> Self | None:
        """Pack float32 (rows, in_features); None where they are not exactly of 4 bits."""
        out_features, in_features = rows.shape
        if out_features % _TILE or in_features % _GROUP:
            return None
        groups = rows.float().view(out_features, -1, _GROUP)
        least, most = groups.aminmax(dim=-1, keepdim=True)
        step = ((most - least) / 15).clamp_min_(1e-12)
        levels = ((groups - least) / step).round_()
        if bool(((levels * step + least - groups).abs() > 0.01 * step).any()):
            return None
        nibbles = levels.view_as(rows).int()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(nibbles, 1)
        # The kernel counts levels from -8 to 7.
        scales = torch.cat([step, least + 8 * step], -1).transpose(0, 1)
        return cls(packed, scales.to(torch.bfloat16).contiguous())

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """The rows of all parts, one after another."""
        packed = torch.cat([part._packed for part in parts])
        return cls(packed, torch.cat([part._scales for part in parts], 1))

    def multiply(self, x: Tensor) -> Tensor:
        """(rows, in_features) float32 -> (rows, out_features) float32."""
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x.to(torch.bfloat16), self._packed, _GROUP, self._scales
        )
        return product.float()


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
        rows = rows.float()  # in 16 bits, the largest of a row would round to 128 and wrap around
        peak = _peak(rows)
        stop = start + len(rows)
        self.weight[start:stop] = (rows * (127.0 / peak)).round_().to(torch.int8)
        self.scale[start:stop] = peak.squeeze(-1).div_(127.0)

    def settle(self) -> None:
        """Call once all rows are stored."""

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in_features) float32 -> (rows, out_features) float32."""
        peak = _peak(x)
        scaled = x * (127.0 / peak)
        coarse = scaled.round()
        parts = torch.empty((2, *x.shape), dtype=torch.int8)
        parts[0] = coarse
        parts[1] = scaled.sub_(coarse).mul_(_FINE).round_()
        high, low = torch._int_mm(parts.flatten(0, 1), self.weight.t()).float().chunk(2)
        y = torch.add(high, low, alpha=1.0 / _FINE)
        y.mul_(self.scale).mul_(peak.div_(127.0))
        return y if self.bias is None else y.add_(self.bias)


class Int4Linear(Int8Linear):
    """A linear layer that keeps a checkpoint's own 4-bit weights; with others it is int8.

    Rounding them again to int8 would cost more than it saves (`Int4Rows`).
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self._parts: dict[int, Int4Rows | None] = {}
        self._int4: Int4Rows | None = None

    def store_rows(self, start: int, rows: Tensor) -> None:
        self._parts[start] = Int4Rows.of(rows)
        super().store_rows(start, rows)

    def settle(self) -> None:
        """If all rows have 4 bits, the int8 copy goes."""
        parts = [part for _, part in sorted(self._parts.items()) if part is not None]
        if parts and len(parts) == len(self._parts):
            self._int4 = Int4Rows.joined(parts)
            self.weight, self.scale = torch.empty(0), torch.empty(0)
        self._parts.clear()

    def forward(self, x: Tensor) -> Tensor:
        if self._int4 is None:
            return super().forward(x)
        y = self._int4.multiply(x)
        return y if self.bias is None else y.add_(self.bias)


def _peak(x: Tensor) -> Tensor:
    """Largest magnitude of every row, never zero: (rows, n) -> (rows, 1)."""
    return x.abs().amax(dim=-1, keepdim=True).clamp_min_(1e-12)
