"""Formats of packed weights: the number of bits of a level, and how a group's grid is stored.

    weight[n, k] = least[n, g] + step[n, g] * level[n, k],   g = k // 32

A *tile* has 32 outputs in two columns of 16 lanes. Its bytes are those of its super-blocks in turn.
A super-block is one group of 32 inputs or, in formats with grids on two scales, eight of them:

    float16 numbers of the super-block, for column 0, then for column 1  (only with two scales)
    for each of its groups, each part for column 0, then for column 1:
        low 4 or 8 bits of the levels
        high 1 or 2 bits of the levels
        numbers of the group's grid, 16 outputs beside each other

Levels are words of 16 bits, two a lane, of even and of odd inputs: pair number k of a group (inputs
2k and 2k + 1) is in bits `k % per * bits` of word `k // per`. All parts begin at cache lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dllm_core.cpu.emit import LANES, VECTOR

GROUP = 32
"""Weights of a row that share a grid."""
COLUMNS = 2
"""Vectors of outputs in a tile; the kernel multiplies one tile at a time."""
TILE = COLUMNS * LANES
SUPER = 8
"""Groups of a super-block."""
WORD = 16
"""Bits of a word of packed levels; a lane has two words."""
HALF = 2
"""Bytes of a float16."""


@dataclass(frozen=True, slots=True)
class Format:
    """How the weights of one matrix are stored; see the module.

    Attributes:
        name: part of the names of its kernels.
        low, high: bits of a level in the first and in the second part.
        grid: type of a number of a group's grid.
        grids: numbers of a group's grid.
        supers: float16 numbers of a super-block; 0 for grids on one scale.
        zero: level of the weight 0, where the grid stores no least value.
        halves: grids of a group; with 2, each is of 16 inputs.
    """

    name: str
    low: int
    high: int
    grid: torch.dtype
    grids: int
    supers: int = 0
    zero: int = 0
    halves: int = 1

    @property
    def bits(self) -> int:
        """Bits of a level."""
        return self.low + self.high

    @property
    def span(self) -> int:
        """Groups of a super-block."""
        return SUPER if self.supers else 1

    @property
    def low_bytes(self) -> int:
        """Bytes of the low part of the levels of a group, 16 outputs."""
        return level_bytes(self.low)

    @property
    def high_bytes(self) -> int:
        """Bytes of the high part of the levels of a group, 16 outputs."""
        return level_bytes(self.high)

    @property
    def grid_bytes(self) -> int:
        """Bytes of the grid of a group, 16 outputs."""
        return self.grids * LANES * self.grid.itemsize

    @property
    def group_bytes(self) -> int:
        """Bytes of a group of a tile."""
        return COLUMNS * (self.low_bytes + self.high_bytes + self.grid_bytes)

    @property
    def head_bytes(self) -> int:
        """Bytes of a super-block of a tile before its groups."""
        return COLUMNS * self.supers * LANES * HALF

    @property
    def super_bytes(self) -> int:
        """Bytes of a super-block of a tile."""
        return self.head_bytes + self.span * self.group_bytes


def level_bytes(bits: int) -> int:
    """Bytes of that many bits of the levels of a group, 16 outputs."""
    return GROUP // 2 * bits // WORD * VECTOR


FOUR_BITS = Format("4", 4, 0, torch.float16, 2)
"""GGUF's Q4_1: steps and least values are float16."""
EIGHT_BITS = Format("8", 8, 0, torch.float32, 2)
"""Any weights: off by half of one of 255 steps of their group."""
Q4_0 = Format("q4_0", 4, 0, torch.float16, 1, zero=8)
Q8_0 = Format("q8_0", 8, 0, torch.float16, 1, zero=128)
Q4_K = Format("q4_k", 4, 0, torch.uint8, 2, supers=2)
"""A group's step and least value are multiples of two float16 of its super-block."""
Q5_K = Format("q5_k", 4, 1, torch.uint8, 2, supers=2)
Q6_K = Format("q6_k", 4, 2, torch.int8, 2, supers=1, zero=32, halves=2)
"""The steps of both halves of a group are multiples of one float16."""

FORMATS = {form.name: form for form in (FOUR_BITS, EIGHT_BITS, Q4_0, Q8_0, Q4_K, Q5_K, Q6_K)}
