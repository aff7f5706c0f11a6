"""Weights as levels on grids, laid out for the kernels (formats.py).

With 8 bits and no format of the checkpoint's own, each group takes the nearer of two grids: from
its least value to its largest, which is exact for weights that have at most 4 bits already (as 255
is 15 times 17), or symmetric about zero, as in Q8_0.

What is here is the plain version of the packing; pack.py has that of the kernels.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dllm_core.cpu import pack
from dllm_core.cpu.emit import LANES
from dllm_core.cpu.formats import COLUMNS, GROUP, TILE, WORD, Format
from dllm_core.cpu.pack import Blocks

_NEAR = 0.01
"""Distance from the nearest level, in steps, up to which a weight counts as that level; rounding of
another format makes the difference."""
_MAPPED = 1 << 16
"""Bytes from which a matrix has pages of its own."""


class Quantised(NamedTuple):
    """Rows of a matrix as levels on a grid of each group: weight = least + step * level.

    Attributes:
        levels: (rows, groups, 32), uint8, or floats that are whole numbers.
        step, least: (rows, groups, halves), floating point; two halves have a grid each.
        bits: bits that a level needs.
        scales: (rows, groups, 2), numbers of a group's grid in a format with super-blocks.
        supers: float16 (rows, groups / 8, 1 or 2), those of its super-blocks.
    """

    levels: Tensor
    step: Tensor
    least: Tensor
    bits: int
    scales: Tensor | None = None
    supers: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Quantised:
        """The same change of rows, such as another order, made to all parts."""
        parts = [part if part is None else change(part) for part in (self.scales, self.supers)]
        kept = (change(self.levels), change(self.step), change(self.least))
        return Quantised(*kept, self.bits, *parts)

    def weights(self) -> Tensor:
        """The weights, float32 (rows, groups * 32)."""
        levels = _split(self.levels.float(), (self.step.shape[-1], -1))
        found: Tensor = self.least.float()[..., None] + self.step.float()[..., None] * levels
        return found.flatten(1)


class PackedRows:
    """A matrix (out_features, in_features); rows that are not stored yet are undefined.

    Attributes:
        data: uint8 (tiles, super-blocks, bytes).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        form: Format,
        *,
        paired: bool = False,
        data: Tensor | None = None,
    ) -> None:
        """Make a matrix of zeros, or one of packed `data`.

        With `paired` a tile has 16 outputs of each half of the rows, gates and gated values.
        """
        self.in_features, self.out_features = in_features, out_features
        self.form, self.paired = form, paired
        self.groups = -(-in_features // GROUP)
        self.tiles = out_features // TILE if paired else -(-out_features // TILE)
        if self.groups % form.span:
            raise ValueError(f"{form.name} has super-blocks of {form.span} groups")
        if data is None:
            data = _zeros(self.shape)
        if data.shape != self.shape:
            raise ValueError(f"data of {tuple(data.shape)}, not {self.shape}")
        self.data = data

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of `data`."""
        return self.tiles, self.groups // self.form.span, self.form.super_bytes

    @property
    def padded(self) -> int:
        """Number of outputs of all tiles, padding included."""
        return self.tiles * TILE

    @property
    def nbytes(self) -> int:
        """Bytes of the whole matrix."""
        return self.data.nbytes

    def store(self, start: int, rows: Tensor) -> bool:
        """Quantise float rows (n, in_features) and store them from row `start` on.

        The 4-bit format takes only rows that lie on 4-bit grids already; for others it stores
        nothing and returns False.
        """
        if self.form.bits != 4 and pack.serves(self, start, len(rows)):
            pack.floats(self, start, rows)
            return True
        groups = torch.nn.functional.pad(rows.float(), (0, self.groups * GROUP - rows.shape[1]))
        groups = groups.view(len(rows), self.groups, GROUP)
        levels, step, least = _four_bits(groups) if self.form.bits == 4 else eight_bits(groups)
        if self.form.bits == 4 and not bool(_fits(groups, levels, step, least).all()):
            return False
        self.write(start, Quantised(levels, step, least, self.form.bits))
        return True

    def write_blocks(self, start: int, blocks: Blocks, split: Callable[[], Quantised]) -> None:
        """Store rows of a file in this format from row `start` on; `split` is the plain way."""
        if pack.serves(self, start, len(blocks.raw)):
            pack.blocks(self, start, blocks)
        else:
            self.write(start, split())

    def write(self, start: int, rows: Quantised) -> None:
        """Store rows that are quantised already, from row `start` on.

        Raises:
            ValueError: their levels need more bits than this format has.
        """
        form = self.form
        if rows.bits > form.bits:
            raise ValueError(f"levels of {rows.bits} bits in a format of {form.bits}")
        tile, column, lane = self._places(start, len(rows.levels))
        shape = (len(rows.levels), -1, form.span)
        levels = rows.levels.to(torch.uint8)
        for part, bits, shift in ((self._low(), form.low, 0), (self._high(), form.high, form.low)):
            if bits:
                words = _words(levels >> shift & 2**bits - 1, bits)
                part[tile, :, :, column, :, lane] = _split(words, shape[1:], 1)
        numbers = rows.scales if form.supers else torch.cat([rows.step, rows.least], -1)
        assert numbers is not None
        kept = numbers[..., : form.grids].to(form.grid)
        self._grid()[tile, :, :, column, :, lane] = _split(kept, shape[1:], 1)
        if rows.supers is not None and form.supers:
            self._supers()[tile, :, column, :, lane] = rows.supers

    def unpacked(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows `start` to `stop` as float32 (n, in_features), the plain version of the weights."""
        rows = self.quantised(start, self.out_features if stop is None else stop)
        return rows.weights()[:, : self.in_features]

    def quantised(self, start: int, stop: int) -> Quantised:
        """Rows `start` to `stop` as they were written."""
        form = self.form
        tile, column, lane = self._places(start, stop - start)
        levels = torch.zeros(stop - start, self.groups, GROUP, dtype=torch.int32)
        for part, bits, shift in ((self._low(), form.low, 0), (self._high(), form.high, form.low)):
            if bits:
                words = part[tile, :, :, column, :, lane].flatten(1, 2).int() & 0xFFFF
                levels |= _levels(words, bits) << shift
        numbers = self._grid()[tile, :, :, column, :, lane].flatten(1, 2)
        if not form.supers:
            step = numbers[..., :1]
            least = numbers[..., 1:] if form.grids > 1 else -form.zero * step.float()
            return Quantised(levels, step, least, form.bits)
        supers = self._supers()[tile, :, column, :, lane]
        wide = supers.float().repeat_interleave(form.span, 1)
        if form.halves > 1:
            step = wide * numbers.float()
            least = -form.zero * step
        else:
            grids = wide * numbers.float()
            step, least = grids[..., :1], -grids[..., 1:]
        return Quantised(levels, step, least, form.bits, numbers, supers)

    def _groups(self) -> Tensor:
        """(tiles, super-blocks, groups, bytes)"""
        return _split(self.data[..., self.form.head_bytes :], (self.form.span, -1))

    def _part(self, at: int, size: int, kind: torch.dtype) -> Tensor:
        """Part of the groups at a place, `size` bytes a column: (..., columns, numbers)."""
        return _split(self._groups()[..., at : at + COLUMNS * size].view(kind), (COLUMNS, -1))

    def _low(self) -> Tensor:
        """(tiles, super-blocks, groups, columns, words, lanes, 2), int16."""
        part = self._part(0, self.form.low_bytes, torch.int16)
        return _split(part, (-1, LANES, 2))

    def _high(self) -> Tensor:
        """As `_low`, for the high bits."""
        form = self.form
        part = self._part(COLUMNS * form.low_bytes, form.high_bytes, torch.int16)
        return _split(part, (-1, LANES, 2)) if form.high else part

    def _grid(self) -> Tensor:
        """(tiles, super-blocks, groups, columns, numbers, lanes)"""
        form = self.form
        at = COLUMNS * (form.low_bytes + form.high_bytes)
        return _split(self._part(at, form.grid_bytes, form.grid), (form.grids, LANES))

    def _supers(self) -> Tensor:
        """float16 (tiles, super-blocks, columns, numbers, lanes)"""
        head = self.data[..., : self.form.head_bytes].view(torch.float16)
        return _split(head, (COLUMNS, self.form.supers, LANES))

    def _places(self, start: int, count: int) -> tuple[Any, Any, Any]:
        """Tile, column and lane of some rows."""
        rows = torch.arange(start, start + count)
        if self.paired:
            half = self.out_features // 2
            column, rows = rows // half, rows % half
            return rows // LANES, column, rows % LANES
        vector = rows // LANES
        return vector // COLUMNS, vector % COLUMNS, rows % LANES


def _zeros(shape: tuple[int, ...]) -> Tensor:
    """uint8 zeros, whose pages take memory when they are written to; torch writes them at once."""
    size = prod(shape)
    if size < _MAPPED or not hasattr(mmap, "MAP_ANONYMOUS"):
        return torch.zeros(shape, dtype=torch.uint8)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.from_numpy(np.frombuffer(pages, np.uint8)).view(shape)


def _split(x: Tensor, sizes: tuple[int, ...], dim: int = -1) -> Tensor:
    """A view with several dimensions in place of one."""
    found: Tensor = x.unflatten(dim, sizes)  # type: ignore[no-untyped-call]
    return found


def _words(levels: Tensor, bits: int) -> Tensor:
    """Pack levels (rows, groups, 32) into words (rows, groups, words, 2), int16."""
    per = WORD // bits
    pairs = _split(levels.int(), (-1, per, 2))
    shifts = torch.arange(per, dtype=torch.int32)[:, None] * bits
    return (pairs << shifts).sum(-2, dtype=torch.int32).to(torch.int16)


def _levels(words: Tensor, bits: int) -> Tensor:
    """The levels in words (rows, groups, words, 2): int32 (rows, groups, 32)."""
    shifts = torch.arange(WORD // bits, dtype=torch.int32)[:, None] * bits
    found: Tensor = ((words[..., None, :] >> shifts) & 2**bits - 1).flatten(2)
    return found


_Parts = tuple[Tensor, Tensor, Tensor]
"""Levels (rows, groups, 32), steps and least values (rows, groups, 1)."""


def _four_bits(groups: Tensor) -> _Parts:
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


def _between(groups: Tensor, steps: int) -> _Parts:
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


def eight_bits(groups: Tensor) -> _Parts:
    """Quantise groups (rows, groups, 32) on the nearer of two grids of 8 bits."""
    # Two reductions take half the time of torch's joint one.
    least, most = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    even = torch.maximum(least.abs(), most.abs()).div_(127)
    first, off = _tried(groups, (most - least).div_(255), least)
    second, other = _tried(groups, even, -128 * even)
    nearer = off <= other
    levels, step, least = (torch.where(nearer, a, b) for a, b in zip(first, second, strict=True))
    return levels, step, least


def _tried(groups: Tensor, step: Tensor, least: Tensor) -> tuple[_Parts, Tensor]:
    """The groups on a grid of 8 bits, and their largest errors (rows, groups, 1)."""
    levels = torch.sub(groups, least).div_(step.clamp_min(1e-12)).round_().clamp_(0, 255)
    wrong = torch.mul(levels, step).add_(least).sub_(groups).abs_().amax(-1, keepdim=True)
    return (levels, step, least), wrong


def _error(groups: Tensor, levels: Tensor, step: Tensor, least: Tensor) -> Tensor:
    return (least + step * levels - groups).abs_().amax(-1, keepdim=True)
