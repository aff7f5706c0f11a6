"""Packing by compiled kernels: rows of a checkpoint into tiles, about as fast as memory is read."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dllm_core.cpu import formats, jit, team
from dllm_core.cpu.emit import LANES
from dllm_core.cpu.formats import GROUP, Format
from dllm_core.cpu.jit import Kernel, compiled
from dllm_core.cpu.pack_kernel import FloatPack, PackKernel, Q4Pack, Q6KPack, Q8Pack, Q45KPack
from dllm_core.cpu.team import Launch

if TYPE_CHECKING:
    from dllm_core.cpu.packed import PackedRows


class BlockKind(Enum):
    """Blocks of GGUF files that have a packed format of their own; values are their names there."""

    Q4_0 = "Q4_0"
    Q4_1 = "Q4_1"
    Q8_0 = "Q8_0"
    Q4_K = "Q4_K"
    Q5_K = "Q5_K"
    Q6_K = "Q6_K"

    @property
    def form(self) -> Format:
        """The packed format of the same width."""
        return _FORMS[self]


_FORMS = {
    BlockKind.Q4_0: formats.Q4_0,
    BlockKind.Q4_1: formats.FOUR_BITS,
    BlockKind.Q8_0: formats.Q8_0,
    BlockKind.Q4_K: formats.Q4_K,
    BlockKind.Q5_K: formats.Q5_K,
    BlockKind.Q6_K: formats.Q6_K,
}


class Blocks(NamedTuple):
    """Rows of a matrix as a file has them.

    Attributes:
        raw: uint8 (rows, bytes of a row), contiguous.
        kind: their blocks.
    """

    raw: NDArray[np.uint8]
    kind: BlockKind


def _emitter(form: Format) -> PackKernel:
    if form in (formats.Q4_0, formats.FOUR_BITS):
        return Q4Pack(form)
    if form in (formats.Q4_K, formats.Q5_K):
        return Q45KPack(form)
    return {formats.Q8_0: Q8Pack, formats.Q6_K: Q6KPack, formats.EIGHT_BITS: FloatPack}[form]()


@cache
def _kernel(form: Format, portable: bool) -> Kernel:
    return compiled(f"pack_{form.name}", _emitter(form), portable=portable, keep=True)


def serves(rows: PackedRows, start: int, count: int) -> bool:
    """Whether rows from `start` on are whole sets of 16, but for the last set of the matrix."""
    half = rows.out_features // 2 if rows.paired else rows.out_features
    begin, stop = start % half, start % half + count
    whole = begin % LANES == 0 and (stop % LANES == 0 or stop == half) and stop <= half
    return bool(count) and whole and jit.allowed()


def blocks(rows: PackedRows, start: int, given: Blocks, *, portable: bool = False) -> None:
    """Store a file's rows from row `start` on, in the format of their kind.

    Raises:
        ValueError: the matrix has another format or width.
    """
    size = _emitter(rows.form).block * rows.shape[1]
    if given.kind.form != rows.form or given.raw.shape[1] != size:
        raise ValueError(f"rows of {given.kind.value}, {given.raw.shape[1]} bytes each")
    raw = np.ascontiguousarray(given.raw)
    _run(rows, start, raw.ctypes.data, size, len(raw), portable)


def floats(rows: PackedRows, start: int, given: Tensor, *, portable: bool = False) -> None:
    """Quantise float rows (n, in_features) to 8 bits and store them from row `start` on."""
    padded = rows.groups * GROUP - given.shape[1]
    x = torch.nn.functional.pad(given.float(), (0, padded)) if padded else given.float()
    x = x.contiguous()
    _run(rows, start, x.data_ptr(), 4 * x.shape[1], len(x), portable)


def _run(rows: PackedRows, start: int, at: int, stride: int, count: int, portable: bool) -> None:
    arguments = (
        at, stride, count, -(-count // LANES), start // LANES, rows.tiles, int(rows.paired),
        rows.shape[1], rows.data.data_ptr(),
    )  # fmt: skip
    team.run(Launch(_kernel(rows.form, portable), arguments))
