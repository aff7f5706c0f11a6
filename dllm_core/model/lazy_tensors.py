"""Tensors of a checkpoint that are read some rows at a time, to save memory while loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

from torch import Tensor

from dllm_core.cpu.packed import Quantised

_ELEMENTS = 2**18
"""Elements of one piece: few beside the weights, many beside the cost of a read of its own."""
_MULTIPLE = 64
"""Rows of a piece are a multiple of this, as packing 4-bit weights requires."""


class Rows(Protocol):
    """A tensor of a checkpoint: in memory (any torch tensor is one) or still in its file."""

    @property
    def shape(self) -> Sequence[int]:
        """Size of each dimension, rows first."""

    def __getitem__(self, rows: slice, /) -> Tensor:
        """The rows of a slice, in memory."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Rows that are read, or computed from what is read, whenever they are asked for.

    Attributes:
        read: reads some rows as floating-point numbers.
        quantised: reads some rows as the file has them; None where it has no grids of 32 weights.
    """

    shape: tuple[int, ...]
    read: Callable[[slice], Tensor]
    quantised: Callable[[slice], Quantised] | None = None

    def __getitem__(self, rows: slice, /) -> Tensor:
        return self.read(rows)


def pieces(shape: Sequence[int]) -> Iterator[slice]:
    """Consecutive slices of rows of a tensor of this shape, about a megabyte each."""
    width = max(1, prod(shape[1:]))
    count = max(_MULTIPLE, _ELEMENTS // width // _MULTIPLE * _MULTIPLE)
    for start in range(0, shape[0], count):
        yield slice(start, min(start + count, shape[0]))
