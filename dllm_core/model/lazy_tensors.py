"""Tensors that are read by rows, so that the largest of them never exists a second time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

from torch import Tensor

from dllm_core.cpu.packed import Quantised

_ELEMENTS = 2**18
"""Of one piece: little beside the weights, much beside the cost of reading it apart."""
_MULTIPLE = 64
"""Rows of a piece are a multiple of this, as the packing of 4-bit weights wants it."""


class Rows(Protocol):
    """A tensor of a checkpoint: in memory (any torch tensor is one) or still in its file."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


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
    """Consecutive rows of a tensor of this shape, a megabyte or a few each."""
    width = max(1, prod(shape[1:]))
    count = max(_MULTIPLE, _ELEMENTS // width // _MULTIPLE * _MULTIPLE)
    for start in range(0, shape[0], count):
        yield slice(start, min(start + count, shape[0]))
