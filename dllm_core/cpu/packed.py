"""Weights of 4 or 8 bits with a step and a least value per group of 32, laid out for the kernel.

    weight[n, k] = least[n, g] + step[n, g] * level[n, k],   g = k // 32

With 8 bits each group takes the nearer of two grids: from its least value to its largest, which is
exact for weights that have at most 4 bits already (GGUF's Q4_1, as 255 is 15 times 17), or
symmetric about zero, as in Q8_0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        at = self._places(start, len(rows))
        self._levels()[at] = self._words(levels)
        for i, values in enumerate((step, least)):
            grid = self._grid()[:, :, :, i]
            grid[at[0], :, at[2], at[4]] = values.squeeze(-1).to(grid.dtype)
        return True

    def unpacked(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows `start` to `stop` as float32 (n, in_features), the plain version of the weights."""
        stop = self.out_features if stop is None else stop
        at = self._places(start, stop - start)
        words = self._levels()[at].int() & 0xFFFF
        shifts = torch.arange(self.form.per_word, dtype=torch.int32) * self.form.bits
        levels = (words[..., None, :] >> shifts[:, None]) & (2**self.form.bits - 1)
        step, least = (
            self._grid()[:, :, :, i][at[0], :, at[2], at[4]].float()[..., None] for i in range(2)
        )
        rows: Tensor = least + step * levels.reshape(stop - start, self.groups, GROUP)
        return rows.flatten(1)[:, : self.in_features]

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
        parts = levels.int().view(len(levels), self.groups, -1, self.form.per_word, 2)
        shifts = torch.arange(self.form.per_word, dtype=torch.int32) * self.form.bits
        words: Tensor = (parts << shifts[:, None]).sum(-2, dtype=torch.int32)
        return words.to(torch.int16)


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
    least, most = groups.aminmax(dim=-1, keepdim=True)
    even = torch.maximum(least.abs(), most.abs()) / 127
    first, second = (
        (_on(groups, step, start, 255), step, start)
        for step, start in (((most - least) / 255, least), (even, -128 * even))
    )
    nearer = _error(groups, *first) <= _error(groups, *second)
    levels, step, least = (torch.where(nearer, a, b) for a, b in zip(first, second, strict=True))
    return levels, step, least


def _error(groups: Tensor, levels: Tensor, step: Tensor, least: Tensor) -> Tensor:
    return (least + step * levels - groups).abs_().amax(-1, keepdim=True)
