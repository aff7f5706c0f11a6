"""Linear layers with weights of 8 bits, or of the 4 bits that a checkpoint has, for CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dllm_core.cpu.packed import EIGHT_BITS, FOUR_BITS, Format, PackedRows, Quantised
from dllm_core.cpu.product import Norm, multiply


class PackedLinear(nn.Module):
    """A linear layer with packed weights; what is computed from them is float32's to 2**-15."""

    form: Format

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._keep(PackedRows(in_features, out_features, self.form))
        self._stored: list[tuple[int, int]] = []
        """Rows that have been stored, in pieces."""
        self.padded_bias = torch.zeros(self.packed.padded) if bias else None
        """As long as the kernels read it; `bias` is its beginning."""
        self.bias: Tensor | None
        self.register_buffer(
            "bias", None if self.padded_bias is None else self.padded_bias[:out_features]
        )

    def pair(self) -> None:
        """Lay the halves of the rows side by side, as SwiGLU needs them; before any is stored."""
        self._keep(PackedRows(self.in_features, self.out_features, self.form, paired=True))

    def _keep(self, packed: PackedRows) -> None:
        self.packed = packed
        self.register_buffer("data", packed.data)  # so that the module knows what it weighs

    def store_rows(self, start: int, rows: Tensor) -> None:
        """Quantise float `rows` of the weight and store them from row `start` on."""
        if not self.packed.store(start, rows):
            self._widen()
            self.packed.store(start, rows)
        self._stored.append((start, start + len(rows)))

    def store_quantised(self, start: int, rows: Quantised) -> None:
        """Store rows as a checkpoint has quantised them, from row `start` on."""
        if rows.bits > self.packed.form.bits:
            self._widen()
        self.packed.write(start, rows)
        self._stored.append((start, start + len(rows.levels)))

    def _widen(self) -> None:
        """Eight bits instead of four, in which what has been stored stays what it is."""
        size = (self.in_features, self.out_features)
        wide = PackedRows(*size, EIGHT_BITS, paired=self.packed.paired)
        for start, stop in self._stored:
            wide.write(start, self.packed.quantised(start, stop))
        self._keep(wide)

    def forward(self, x: Tensor, *, norm: Norm | None = None) -> Tensor:
        """(rows, in_features), normalised first where it is asked -> (rows, out_features)."""
        return multiply(x, self.packed, norm=norm, bias=self.bias)


class Int8Linear(PackedLinear):
    """Weights of 8 bits, with a step and a least value per group of 32."""

    form = EIGHT_BITS


class Int4Linear(PackedLinear):
    """The 4-bit weights that a checkpoint has (GGUF's Q4_1), as they are; with others 8 bits."""

    form = FOUR_BITS
