"""Linear layers for CPUs with 8-bit weights, or with a checkpoint's own quantised weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dllm_core.cpu import formats
from dllm_core.cpu.formats import EIGHT_BITS, FOUR_BITS, TILE, Format
from dllm_core.cpu.pack import Blocks
from dllm_core.cpu.packed import PackedRows, Quantised
from dllm_core.cpu.product import Norm, multiply
from dllm_core.model import gguf_blocks


class Stretch(NamedTuple):
    """Rows of a layer that one tensor of a checkpoint fills.

    Attributes:
        start, stop: the rows.
        form: packed format of the tensor's own width; None where it has none.
    """

    start: int
    stop: int
    form: Format | None


@dataclass(slots=True)
class Part:
    """Consecutive rows of a layer in one format.

    Attributes:
        start: the first of them.
        packed: the weights.
        stored: (start, stop) of the rows stored so far, counted from `start`.
    """

    start: int
    packed: PackedRows
    stored: list[tuple[int, int]] = field(default_factory=list)

    @property
    def stop(self) -> int:
        """Row behind the last."""
        return self.start + self.packed.out_features


class PackedLinear(nn.Module):
    """A linear layer (out_features, in_features) over packed integer weights.

    Inputs are rounded to 16 bits. Products are those of the unpacked weights in float32, to
    within 2**-15. Rows whose formats differ are kept in parts; nothing is allocated before the
    first row is stored.
    """

    form: Format
    """Format of rows that have none of their own."""
    natives: tuple[Format, ...]
    """Formats of checkpoints that are kept as they are."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.paired = False
        self._parts: list[Part] = []
        self.padded_bias = torch.zeros(-(-out_features // TILE) * TILE) if bias else None
        """The bias in the length that the kernels read; `bias` is its beginning."""
        self.bias: Tensor | None
        self.register_buffer(
            "bias", None if self.padded_bias is None else self.padded_bias[:out_features]
        )

    def pair(self) -> None:
        """Interleave the two halves of the rows, as SwiGLU reads them; before any row is stored."""
        self.paired = True

    @property
    def parts(self) -> list[Part]:
        """The weights, in the order of their rows."""
        if not self._parts:
            self._set([self._part(0, self.out_features, self.form)])
        return self._parts

    @property
    def packed(self) -> PackedRows:
        """The weights of a layer that has one part."""
        (part,) = self.parts
        return part.packed

    @property
    def padded(self) -> int:
        """Outputs of all tiles, padding included."""
        return sum(part.packed.padded for part in self.parts)

    def adopt(self, parts: Sequence[Part]) -> None:
        """Use weights that are packed already."""
        self._set(list(parts))

    def replace(self, index: int, data: Tensor) -> None:
        """Keep the same weights of a part in other memory."""
        self._parts[index].packed.data = data
        setattr(self, f"data{index}", data)

    def plan(self, stretches: Sequence[Stretch]) -> None:
        """Make a part for each stretch, or for all of a layer that cannot be divided.

        Tiles must not cross the border of two parts, and a paired layer has one.
        """
        wanted = [(s.start, s.stop, self._own(s.form)) for s in sorted(stretches)]
        merged: list[tuple[int, int, Format]] = []
        for start, stop, form in wanted:
            if merged and merged[-1][2] == form:
                start = merged.pop()[0]
            merged.append((start, stop, form))
        if len(merged) > 1 and (self.paired or any(start % TILE for start, *_ in merged)):
            merged = [(0, self.out_features, EIGHT_BITS)]
        self._set([self._part(*each) for each in merged])

    def _own(self, form: Format | None) -> Format:
        return form if form in self.natives and form is not None else self.form

    def _part(self, start: int, stop: int, form: Format) -> Part:
        size = (self.in_features, stop - start)
        return Part(start, PackedRows(*size, form, paired=self.paired))

    def _set(self, parts: list[Part]) -> None:
        for i in range(len(self._parts)):
            delattr(self, f"data{i}")
        self._parts = parts
        for i, part in enumerate(parts):  # so that the module counts their bytes
            self.register_buffer(f"data{i}", part.packed.data)

    def _holding(self, start: int) -> Part:
        return next(part for part in self.parts if part.start <= start < part.stop)

    def form_of(self, start: int) -> Format:
        """Format of the rows from `start` on."""
        return self._holding(start).packed.form

    def store_rows(self, start: int, rows: Tensor) -> None:
        """Quantise float `rows` (rows, in_features) and store them from row `start` on.

        Four-bit storage turns into eight-bit storage at the first row that it cannot hold exactly.
        """
        part = self._holding(start)
        own = start - part.start
        if part.packed.form not in (FOUR_BITS, EIGHT_BITS) or not part.packed.store(own, rows):
            part = self._widened(part)
            part.packed.store(own, rows)
        part.stored.append((own, own + len(rows)))

    def store_blocks(self, start: int, blocks: Blocks) -> None:
        """Store rows as a checkpoint's file has them, from row `start` on."""
        part = self._holding(start)
        if part.packed.form != blocks.kind.form:
            self.store_quantised(start, gguf_blocks.split(*blocks))
            return
        own = start - part.start
        part.packed.write_blocks(own, blocks, lambda: gguf_blocks.split(*blocks))
        part.stored.append((own, own + len(blocks.raw)))

    def store_quantised(self, start: int, rows: Quantised) -> None:
        """Store rows as a checkpoint has quantised them, from row `start` on."""
        if rows.supers is not None:
            self.store_rows(start, rows.weights()[:, : self.in_features])
            return
        part = self._holding(start)
        own = start - part.start
        if rows.bits > part.packed.form.bits:
            part = self._widened(part)
        part.packed.write(own, rows)
        part.stored.append((own, own + len(rows.levels)))

    def _widened(self, part: Part) -> Part:
        """Change a part's storage to eight bits; rows stored so far keep their values."""
        wide = self._part(part.start, part.stop, EIGHT_BITS)
        for start, stop in part.stored:
            rows = part.packed.quantised(start, stop)
            if rows.supers is None:
                wide.packed.write(start, rows)
            else:
                wide.packed.store(start, rows.weights()[:, : self.in_features])
        wide.stored = part.stored
        self._set([wide if each is part else each for each in self._parts])
        return wide

    def forward(self, x: Tensor, *, norm: Norm | None = None) -> Tensor:
        """(rows, in_features) -> (rows, out_features); `norm` is applied to the input first."""
        found = []
        for part in self.parts:
            bias = None if self.bias is None else self.bias[part.start : part.stop]
            found.append(multiply(x, part.packed, norm=norm, bias=bias))
        return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


class Int8Linear(PackedLinear):
    """Weights of 8 bits, with a step size and a minimum per group of 32; Q8_0 as it is."""

    form = EIGHT_BITS
    natives = (formats.Q8_0,)


class Int4Linear(PackedLinear):
    """A checkpoint's own quantised weights, unchanged; other weights take 8 bits."""

    form = FOUR_BITS
    natives = tuple(form for form in formats.FORMATS.values() if form != EIGHT_BITS)
