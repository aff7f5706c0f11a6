"""Weights of 4 or 8 bits with a step and a least value per group of 32, laid out for the kernel.

    weight[n, k] = least[n, g] + step[n, g] * level[n, k],   g = k // 32

With 8 bits each group takes the nearer of two grids: from its least value to its largest, which is
exact for weights that have at most 4 bits already (GGUF's Q4_1, as 255 is 15 times 17), or
symmetric about zero, as in Q8_0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dllm_core.cpu.emit import FLOAT, LANES, VECTOR

GROUP = 32
"""Weights of a row that share a grid."""
COLUMNS = 2
"""Vectors of outputs in a tile; the kernel multiplies one tile at a time."""
_TILE = COLUMNS * LANES
_WORD = 16
"""Bits of a word of packed levels; a lane has two words."""
_NEAR = 0.01
"""Distance from the nearest level, in steps, up to which a weight counts as that level; rounding of
another format makes the difference."""


@dataclass(frozen=True, slots=True)
class Format:
    """Layout of a group of 16 outputs in memory: levels, then 16 steps, then 16 least values.

    Attributes:
        bits: bits of a level.
        grid_bytes: bytes of a step or a least value, a float.
    """

    bits: int
    grid_bytes: int

    @property
    def per_word(self) -> int:
        """Levels in a word."""
        return _WORD // self.bits

    @property
    def level_bytes(self) -> int:
        """Bytes of the levels of a group of 16 outputs."""
        return GROUP // 2 // self.per_word * VECTOR

    @property
    def bytes(self) -> int:
        """Bytes of a group of 16 outputs."""
        return self.level_bytes + 2 * LANES * self.grid_bytes


FOUR_BITS = Format(4, 2)
"""Values of Q4_1: its steps and least values are float16."""
EIGHT_BITS = Format(8, FLOAT)


class Quantised(NamedTuple):
    """Rows of a matrix as levels on a grid of each group: weight = least + step * level.

    Attributes:
        levels: (rows, groups, 32), uint8, or floats that are whole numbers.
        step: (rows, groups, 1), floating point.
        least: (rows, groups, 1), floating point.
        bits: bits that a level needs, 4 or 8.
    """

    levels: Tensor
    step: Tensor
    least: Tensor
    bits: int

    def map(self, change: Callable[[Tensor], Tensor]) -> Quantised:
        """The same change of rows, such as another order, made to all three."""
        return Quantised(change(self.levels), change(self.step), change(self.least), self.bits)


class PackedRows:
    """A matrix (out_features, in_features), zero until its rows are stored."""

    def __init__(
        self, in_features: int, out_features: int, form: Format, *, paired: bool = False
    ) -> None:
        """Make a matrix of zeros.

        With `paired` a tile has 16 outputs of each half of the rows, gates and gated values.
        """
        self.in_features, self.out_features = in_features, out_features
        self.form, self.paired = form, paired
        self.groups = -(-in_features // GROUP)
        self.tiles = out_features // _TILE if paired else -(-out_features // _TILE)
        self.data = torch.zeros(self.tiles, self.groups, COLUMNS, form.bytes, dtype=torch.uint8)

    @property
    def padded(self) -> int:
        """Number of outputs of all tiles, padding included."""
        return self.tiles * _TILE

    @property
    def nbytes(self) -> int:
        """Bytes of the whole matrix."""
        return self.data.nbytes

    def store(self, start: int, rows: Tensor) -> bool:
        """Quantise float rows (n, in_features) and store them from row `start` on.

        The 4-bit format takes only rows that lie on 4-bit grids already; for others it stores
        nothing and returns False.
        """
        groups = torch.nn.functional.pad(rows.float(), (0, self.groups * GROUP - rows.shape[1]))
        groups = groups.view(len(rows), self.groups, GROUP)
        levels, step, least = _four_bits(groups) if self.form.bits == 4 else _eight_bits(groups)
        if self.form.bits == 4 and not bool(_fits(groups, levels, step, least).all()):
            return False
        self.write(start, Quantised(levels, step, least, self.form.bits))
        return True

    def write(self, start: int, rows: Quantised) -> None:
        """Store rows that are quantised already, from row `start` on.

        Raises:
            ValueError: their levels need more bits than this format has.
        """
        if rows.bits > self.form.bits:
            raise ValueError(f"levels of {rows.bits} bits in a format of {self.form.bits}")
        words = self._words(rows.levels)
        grids = [part.squeeze(-1).to(self._grid().dtype) for part in (rows.step, rows.least)]
        if self._write_tiles(start, words, grids):
            return
        at = self._places(start, len(words))
        self._levels()[at] = words
        for i, values in enumerate(grids):
            grid = self._grid()[:, :, :, i]
            grid[at[0], :, at[2], at[4]] = values

    def _write_tiles(self, start: int, words: Tensor, grids: list[Tensor]) -> bool:
        """Copy rows that fill whole tiles, which takes a tenth of the time; False for others.

        With numpy, on this thread alone: a team of threads that wait for each other at every piece
        is far slower on a busy machine.
        """
        count, half = len(words), self.out_features // 2
        height = LANES if self.paired else _TILE
        column, first = divmod(start, half) if self.paired else (0, start)
        inside = not self.paired or first + count <= half
        if count % height or first % height or not inside:
            return False
        tiles = slice(first // height, (first + count) // height)
        columns = slice(column, column + 1) if self.paired else slice(None)
        pairs = words.view(torch.int32).squeeze(-1).numpy()  # a lane's two words move as one
        shape = (-1, height // LANES, LANES, self.groups)
        levels = self._levels().view(torch.int32).squeeze(-1)[tiles, :, columns].numpy()
        np.copyto(levels.transpose(0, 2, 4, 1, 3), pairs.reshape(*shape, pairs.shape[-1]))
        for i, values in enumerate(grids):
            grid = self._grid()[tiles, :, columns, i].numpy()
            np.copyto(grid.transpose(0, 2, 3, 1), values.numpy().reshape(shape))
        return True

    def unpacked(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows `start` to `stop` as float32 (n, in_features), the plain version of the weights."""
        levels, step, least, _ = self.quantised(start, self.out_features if stop is None else stop)
        rows: Tensor = least.float() + step.float() * levels
        return rows.flatten(1)[:, : self.in_features]

    def quantised(self, start: int, stop: int) -> Quantised:
        """Rows `start` to `stop` as they were written."""
        at = self._places(start, stop - start)
        words = self._levels()[at].int() & 0xFFFF
        shifts = torch.arange(self.form.per_word, dtype=torch.int32) * self.form.bits
        levels = (words[..., None, :] >> shifts[:, None]) & (2**self.form.bits - 1)
        step, least = (
            self._grid()[:, :, :, i][at[0], :, at[2], at[4]][..., None] for i in range(2)
        )
        levels = levels.reshape(stop - start, self.groups, GROUP)
        return Quantised(levels, step, least, self.form.bits)

    def _levels(self) -> Tensor:
        """(tiles, groups, columns, words, lanes, 2), int16."""
        levels = self.data[..., : self.form.level_bytes].view(torch.int16)
        return levels.view(self.tiles, self.groups, COLUMNS, -1, LANES, 2)

    def _grid(self) -> Tensor:
        """(tiles, groups, columns, 2, lanes): steps and least values."""
        kind = torch.float16 if self.form.grid_bytes == 2 else torch.float32
        grid = self.data[..., self.form.level_bytes :].view(kind)
        return grid.view(self.tiles, self.groups, COLUMNS, 2, LANES)

    def _places(self, start: int, count: int) -> tuple[Any, ...]:
        """Indices of the levels of some rows: tile, all groups, column, all words, lane."""
        rows = torch.arange(start, start + count)
        if self.paired:
            half = self.out_features // 2
            column, rows = rows // half, rows % half
            return rows // LANES, slice(None), column, slice(None), rows % LANES
        vector = rows // LANES
        return vector // COLUMNS, slice(None), vector % COLUMNS, slice(None), rows % LANES

    def _words(self, levels: Tensor) -> Tensor:
        """Pack levels (rows, groups, 32) into 16-bit words (rows, groups, words, 2)."""
        # One number holds the levels of both words of a lane, which alternate from its low end.
        given = np.ascontiguousarray(levels.to(torch.uint8).numpy())
        both = given.view("<u4" if self.form.bits == 8 else "<u8")
        if self.form.bits == 4:
            both = both | both >> 12  # the next level of each word, into the high half of the byte
            both = ((both & 0xFFFF) | (both >> 16 & 0xFFFF0000)).astype("<u4")
        # Bytes are now those of the first, second, first and second word.
        words = (both & 0xFF0000FF) | (both >> 8 & 0xFF00) | (both & 0xFF00) << 8
        found = torch.from_numpy(words.astype("<u4").view(np.int16))
        return found.view(len(levels), self.groups, -1, 2)


_Quantised = tuple[Tensor, Tensor, Tensor]
"""Levels (rows, groups, 32), steps and least values (rows, groups, 1)."""


def _four_bits(groups: Tensor) -> _Quantised:
    """Quantise groups on the 4-bit grid that their weights lie on, if there is one.

    Most groups contain the first and the last level of their grid, 15 steps apart. For others
    smaller distances between the least and the largest weight are tried.
    """
    found = _between(groups, 15)
    for steps in range(14, 7, -1):
        wrong = ~_fits(groups, *found)
        if not 0 < int(wrong.sum()) <= wrong.numel() // 2:
            break
        others = _between(groups[wrong], steps)
        better = _fits(groups[wrong], *others)[:, None]
        for whole, part in zip(found, others, strict=True):
            whole[wrong] = torch.where(better, part, whole[wrong])
    return found


def _between(groups: Tensor, steps: int) -> _Quantised:
    """Quantise on a grid with `steps` steps from the least weight of a group to the largest."""
    least, most = groups.aminmax(dim=-1, keepdim=True)
    step, least = ((most - least) / steps).half().float(), least.half().float()
    return _on(groups, step, least, 15), step, least


def _fits(groups: Tensor, levels: Tensor, step: Tensor, least: Tensor) -> Tensor:
    """Whether all weights of a group (rows, groups) lie on its grid, up to rounding."""
    return (_error(groups, levels, step, least) <= _NEAR * step + 1e-12).squeeze(-1)


def _on(groups: Tensor, step: Tensor, least: Tensor, most: int) -> Tensor:
    """Nearest level of every weight, 0 to `most`."""
    return ((groups - least) / step.clamp_min(1e-12)).round_().clamp_(0, most)


def _eight_bits(groups: Tensor) -> _Quantised:
    # Two reductions take half the time of torch's joint one.
    least, most = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    even = torch.maximum(least.abs(), most.abs()).div_(127)
    first, off = _tried(groups, (most - least).div_(255), least)
    second, other = _tried(groups, even, -128 * even)
    nearer = off <= other
    levels, step, least = (torch.where(nearer, a, b) for a, b in zip(first, second, strict=True))
    return levels, step, least


def _tried(groups: Tensor, step: Tensor, least: Tensor) -> tuple[_Quantised, Tensor]:
    """The groups on a grid of 8 bits, and their largest errors (rows, groups, 1)."""
    levels = torch.sub(groups, least).div_(step.clamp_min(1e-12)).round_().clamp_(0, 255)
    wrong = torch.mul(levels, step).add_(least).sub_(groups).abs_().amax(-1, keepdim=True)
    return (levels, step, least), wrong


def _error(groups: Tensor, levels: Tensor, step: Tensor, least: Tensor) -> Tensor:
    return (least + step * levels - groups).abs_().amax(-1, keepdim=True)
