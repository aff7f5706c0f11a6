"""Blocks of 32 weights of GGUF's simple formats, taken apart without decoding them.

Layout: ``ggml-common.h`` of https://github.com/ggml-org/ggml. The `gguf` library decodes blocks to
floats only; to find the grids in those again took most of an engine's start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType
from numpy.typing import NDArray

from dllm_core.cpu.packed import GROUP, Quantised

_Parts = tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]
"""Levels, steps, least values, bits."""


def _q4_0(blocks: NDArray[np.uint8]) -> _Parts:
    step = _halves(blocks, 0)
    return _nibbles(blocks[..., 2:]), step, -8 * step, 4


def _q4_1(blocks: NDArray[np.uint8]) -> _Parts:
    return _nibbles(blocks[..., 4:]), _halves(blocks, 0), _halves(blocks, 1), 4


def _q8_0(blocks: NDArray[np.uint8]) -> _Parts:
    step = _halves(blocks, 0)
    # A signed level plus 128 is the same bits with the first one flipped.
    return blocks[..., 2:] ^ 0x80, step, -128 * step, 8


def _halves(blocks: NDArray[np.uint8], at: int) -> NDArray[Any]:
    """The float16 number of each block at this place, as float32 (..., 1)."""
    raw = np.ascontiguousarray(blocks[..., 2 * at : 2 * at + 2])
    return raw.view("<f2").astype(np.float32)


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A block's first 16 levels are the low halves of its bytes, the others the high ones."""
    return np.concatenate((packed & 15, packed >> 4), axis=-1)


_FORMATS: dict[GGMLQuantizationType, tuple[int, Callable[[NDArray[np.uint8]], _Parts]]] = {
    GGMLQuantizationType.Q4_0: (18, _q4_0),
    GGMLQuantizationType.Q4_1: (20, _q4_1),
    GGMLQuantizationType.Q8_0: (34, _q8_0),
}
"""Bytes of a block, and how it is taken apart."""

READABLE = frozenset(_FORMATS)
"""Formats that `split` knows."""


def split(raw: NDArray[np.uint8], kind: GGMLQuantizationType) -> Quantised:
    """Take the blocks of some rows apart.

    Args:
        raw: bytes of the rows, (rows, bytes of a row).
        kind: one of `READABLE`.
    """
    size, parts = _FORMATS[kind]
    levels, step, least, bits = parts(raw.reshape(len(raw), -1, size))
    assert levels.shape[-1] == GROUP
    values = [torch.from_numpy(part) for part in (levels, step, least)]
    return Quantised(values[0], values[1], values[2], bits)
