"""Linear layers for CPUs with 8-bit weights, or with a checkpoint's own 4-bit weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dllm_core.cpu.packed import EIGHT_BITS, FOUR_BITS, Format, PackedRows, Quantised
from dllm_core.cpu.product import Norm, multiply


class PackedLinear(nn.Module):
    """A linear layer (out_features, in_features) over packed integer weights.

    Inputs are rounded to 16 bits. Products are those of the unpacked weights in float32, to
    within 2**-15.
    """

    form: Format

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self._keep(PackedRows(in_features, out_features, self.form))
        self._stored: list[tuple[int, int]] = []
        """(start, stop) of the rows stored so far."""
        self.padded_bias = torch.zeros(self.packed.padded) if bias else None
        """The bias in the length that the kernels read; `bias` is its beginning."""
        self.bias: Tensor | None
        self.register_buffer(
            "bias", None if self.padded_bias is None else self.padded_bias[:out_features]
        )

    def pair(self) -> None:
        """Interleave the two halves of the rows, as SwiGLU reads them; before any row is stored."""
        self._keep(PackedRows(self.in_features, self.out_features, self.form, paired=True))

    def _keep(self, packed: PackedRows) -> None:
        self.packed = packed
        self.register_buffer("data", packed.data)  # so that the module counts its bytes

    def store_rows(self, start: int, rows: Tensor) -> None:
        """Quantise float `rows` (rows, in_features) and store them from row `start` on.

        Four-bit storage turns into eight-bit storage at the first row that it cannot hold exactly.
        """
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
        """Change the storage from four bits to eight; rows stored so far keep their values."""
        size = (self.in_features, self.out_features)
        wide = PackedRows(*size, EIGHT_BITS, paired=self.packed.paired)
        for start, stop in self._stored:
            wide.write(start, self.packed.quantised(start, stop))
        self._keep(wide)

    def forward(self, x: Tensor, *, norm: Norm | None = None) -> Tensor:
        """(rows, in_features) -> (rows, out_features); `norm` is applied to the input first."""
        return multiply(x, self.packed, norm=norm, bias=self.bias)


class Int8Linear(PackedLinear):
    """Weights of 8 bits, with a step size and a minimum per group of 32."""

    form = EIGHT_BITS


class Int4Linear(PackedLinear):
    """A checkpoint's own 4-bit weights (GGUF's Q4_1), unchanged; other weights take 8 bits."""

    form = FOUR_BITS
