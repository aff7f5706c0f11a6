"""Keys as the attention kernel reads them: in blocks of 16 positions, each transposed.

A block has the 16 keys' first numbers, then their second ones, and so on, and takes the memory of
its 16 positions: only the order within it is another one.
"""

from __future__ import annotations

from torch import Tensor

from dllm_core.cpu.emit import LANES


def whole_blocks(positions: int) -> int:
    """The least number of positions that is not below `positions` and fills its blocks."""
    return -(-positions // LANES) * LANES


def as_blocks(keys: Tensor) -> Tensor:
    """The memory of keys (..., blocks * 16, head_dim), seen as blocks (..., blocks, head_dim, 16).

    It is not changed. The rows of a head must follow one another.
    """
    *outer, positions, head_dim = keys.shape
    return keys.view(*outer, positions // LANES, head_dim, LANES)


def into_blocks(keys: Tensor) -> None:
    """Put keys (..., blocks * 16, head_dim) in blocks, in place."""
    rows = keys.unflatten(-2, (-1, LANES))  # type: ignore[no-untyped-call]
    as_blocks(keys).copy_(rows.transpose(-1, -2).contiguous())


def into_rows(keys: Tensor) -> None:
    """Put keys that lie in blocks one after another again, in place: (..., positions, head_dim)."""
    rows = as_blocks(keys).transpose(-1, -2).contiguous()
    keys.copy_(rows.flatten(-3, -2))
