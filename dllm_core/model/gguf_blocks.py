"""Blocks of GGUF's formats, taken apart without decoding them: the plain version of cpu/pack.py.

Layout: ``ggml-common.h`` of https://github.com/ggml-org/ggml. The `gguf` library decodes blocks to
floats only; to find the grids in those again took most of an engine's start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from dllm_core.cpu.formats import GROUP, SUPER
from dllm_core.cpu.pack import BlockKind
from dllm_core.cpu.packed import Quantised

_Raw = NDArray[np.uint8]


def _q4_0(blocks: _Raw) -> Quantised:
    step = _halves(blocks, 0)
    return _simple(_nibbles(blocks[..., 2:]), step, -8 * step, 4)


def _q4_1(blocks: _Raw) -> Quantised:
    return _simple(_nibbles(blocks[..., 4:]), _halves(blocks, 0), _halves(blocks, 2), 4)


def _q8_0(blocks: _Raw) -> Quantised:
    step = _halves(blocks, 0)
    # A signed level plus 128 is the same bits with the first one flipped.
    return _simple(blocks[..., 2:] ^ 0x80, step, -128 * step, 8)


def _q4_k(blocks: _Raw) -> Quantised:
    return _with_offsets(blocks, _super_nibbles(blocks[..., 16:]), 4)


def _q5_k(blocks: _Raw) -> Quantised:
    plane = np.arange(SUPER, dtype=np.uint8)[:, None]
    fifth = blocks[..., None, 16:48] >> plane & 1
    return _with_offsets(blocks, _super_nibbles(blocks[..., 48:]) | fifth << 4, 5)


def _q6_k(blocks: _Raw) -> Quantised:
    """Nibbles and pairs of high bits in halves of 128 weights, a signed scale for 16."""
    low = blocks[..., :128].reshape(*blocks.shape[:-1], 2, 1, 64)
    low = np.concatenate((low & 15, low >> 4), axis=-2)  # (..., half, two, 64)
    planes = np.array([0, 2, 4, 6], np.uint8)[:, None]
    high = blocks[..., 128:192].reshape(*blocks.shape[:-1], 2, 1, GROUP) >> planes & 3
    levels = low.reshape(high.shape) | high << 4
    scales = blocks[..., 192:208].view(np.int8).reshape(len(blocks), -1, 2)
    step = np.repeat(_halves(blocks, 208), SUPER, axis=1) * scales
    return _super(blocks, levels, (step, -32 * step), 6, scales, (208,))


def _with_offsets(blocks: _Raw, levels: NDArray[Any], bits: int) -> Quantised:
    """Levels on grids with 6-bit scales and least values, which lie as in Q4_K."""
    packed = blocks[..., 4:16].reshape(*blocks.shape[:-1], 3, 4)
    first, second, both = packed[..., 0, :], packed[..., 1, :], packed[..., 2, :]
    scale = np.concatenate((first & 63, both & 15 | first >> 6 << 4), axis=-1)
    least = np.concatenate((second & 63, both >> 4 | second >> 6 << 4), axis=-1)
    scales = np.stack((scale, least), axis=-1).reshape(len(blocks), -1, 2)
    wide = [np.repeat(_halves(blocks, at), SUPER, axis=1) for at in (0, 2)]
    grid = (wide[0] * scales[..., :1], -wide[1] * scales[..., 1:])
    return _super(blocks, levels, grid, bits, scales, (0, 2))


def _super(
    blocks: _Raw,
    levels: NDArray[Any],
    grid: tuple[NDArray[Any], NDArray[Any]],
    bits: int,
    scales: NDArray[Any],
    places: tuple[int, ...],
) -> Quantised:
    """Rows in a format with super-blocks, whose float16 numbers are at some places."""
    found = _simple(levels.reshape(len(blocks), -1, GROUP), *grid, bits)
    supers = [blocks[..., at : at + 2].copy().view("<f2") for at in places]
    return found._replace(
        scales=torch.from_numpy(np.ascontiguousarray(scales)),
        supers=torch.from_numpy(np.concatenate(supers, axis=-1)),
    )


def _simple(levels: NDArray[Any], step: NDArray[Any], least: NDArray[Any], bits: int) -> Quantised:
    values = [torch.from_numpy(np.ascontiguousarray(part)) for part in (levels, step, least)]
    return Quantised(values[0], values[1], values[2], bits)


def _halves(blocks: _Raw, at: int) -> NDArray[Any]:
    """The float16 number of each block at this byte, as float32 (..., 1)."""
    raw = np.ascontiguousarray(blocks[..., at : at + 2])
    return raw.view("<f2").astype(np.float32)


def _nibbles(packed: _Raw) -> _Raw:
    """A block's first 16 levels are the low halves of its bytes, the others the high ones."""
    return np.concatenate((packed & 15, packed >> 4), axis=-1)


def _super_nibbles(packed: _Raw) -> _Raw:
    """As `_nibbles`, for 32 bytes of every two groups: (..., 8, 32)."""
    two = packed.reshape(*packed.shape[:-1], -1, 1, GROUP)
    both: _Raw = np.concatenate((two & 15, two >> 4), axis=-2)
    return both.reshape(*packed.shape[:-1], SUPER, GROUP)


_FORMATS: dict[BlockKind, Callable[[_Raw], Quantised]] = {
    BlockKind.Q4_0: _q4_0,
    BlockKind.Q4_1: _q4_1,
    BlockKind.Q8_0: _q8_0,
    BlockKind.Q4_K: _q4_k,
    BlockKind.Q5_K: _q5_k,
    BlockKind.Q6_K: _q6_k,
}


def split(raw: _Raw, kind: BlockKind) -> Quantised:
    """Take the blocks of some rows apart.

    Args:
        raw: bytes of the rows, (rows, bytes of a row).
        kind: their format.
    """
    _, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind.value]]
    return _FORMATS[kind](raw.reshape(len(raw), -1, size))
