"""Tensors of a checkpoint that are read some rows at a time, to save memory while loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dllm_core.cpu.formats import Format
from dllm_core.cpu.pack import BlockKind, Blocks

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
    """A tensor whose rows are read from its file, or computed from the file, at every access.

    Attributes:
        read: reads some rows as floating-point numbers.
        kind: the file's blocks, if there is a packed format of their width.
        raw: reads some rows as the file has them, uint8 (rows, bytes); with a kind or an encoding.
        encoding: name of the file's number format as in GGUF, where it keeps the rows as they are.
    """

    shape: tuple[int, ...]
    read: Callable[[slice], Tensor]
    kind: BlockKind | None = None
    raw: Callable[[slice], NDArray[np.uint8]] | None = None
    encoding: str | None = None

    @property
    def form(self) -> Format | None:
        """Packed format of the width of the file's blocks, if there is one."""
        return None if self.kind is None else self.kind.form

    def blocks(self, rows: slice) -> Blocks | None:
        """Some rows as the file has them; None without a kind."""
        if self.kind is None or self.raw is None:
            return None
        return Blocks(self.raw(rows), self.kind)

    def __getitem__(self, rows: slice, /) -> Tensor:
        return self.read(rows)


def pieces(shape: Sequence[int]) -> Iterator[slice]:
    """Consecutive slices of rows of a tensor of this shape, about a megabyte each."""
    width = max(1, prod(shape[1:]))
    count = max(_MULTIPLE, _ELEMENTS // width // _MULTIPLE * _MULTIPLE)
    for start in range(0, shape[0], count):
        yield slice(start, min(start + count, shape[0]))
