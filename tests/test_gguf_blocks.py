"""Weights of a GGUF file keep their 4 and 8 bits on the way into the CPU's kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize, quantize

from dllm_core.cpu.packed import EIGHT_BITS, FOUR_BITS, PackedRows
from dllm_core.model.gguf_blocks import READABLE, split
from dllm_core.model.quantize import Int4Linear, Int8Linear

KINDS = sorted(READABLE)


def blocks(kind: GGMLQuantizationType, rows: int, columns: int) -> tuple[np.ndarray, torch.Tensor]:
    """Blocks as the reference library makes them, and the weights that it reads in them."""
    values = np.random.default_rng(rows).normal(size=(rows, columns)).astype(np.float32)
    values[0, :32] = 0
    values[1, :32] = 3.5
    raw = quantize(values, kind)
    return raw, torch.from_numpy(dequantize(raw, kind))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("start", "stop", "size", "paired"),
    [
        (0, 96, 96, False),  # whole tiles
        (0, 70, 70, False),  # a last tile that is not full
        (8, 24, 64, False),  # rows in the middle of a tile
        (0, 64, 128, True),  # one half, whole tiles
        (64, 128, 128, True),  # the other half
        (40, 88, 128, True),  # rows of both halves
    ],
)
@pytest.mark.parametrize("form", [FOUR_BITS, EIGHT_BITS], ids=["4", "8"])
def test_packed_blocks_are_the_weights_of_the_file(kind, start, stop, size, paired, form):
    raw, expected = blocks(kind, stop - start, 96)
    found = split(raw, kind)
    packed = PackedRows(96, size, form, paired=paired)
    if found.bits > form.bits:
        with pytest.raises(ValueError, match="8 bits in a format of 4"):
            packed.write(start, found)
        return
    packed.write(start, found)
    assert torch.equal(packed.unpacked(start, stop), expected)
    assert not packed.unpacked(0, start).any()
    assert not packed.unpacked(stop, size).any()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("layer", [Int4Linear, Int8Linear])
def test_a_layer_takes_blocks_of_both_widths(kind, layer):
    made = layer(64, 96)
    four, first = blocks(GGMLQuantizationType.Q4_1, 32, 64)
    raw, second = blocks(kind, 64, 64)
    made.store_quantised(0, split(four, GGMLQuantizationType.Q4_1))
    made.store_quantised(32, split(raw, kind))
    assert torch.equal(made.packed.unpacked(), torch.cat([first, second]))
    x = torch.randn(3, 64)
    torch.testing.assert_close(
        made(x), x @ torch.cat([first, second]).T, rtol=1e-3, atol=2e-3 * 64**0.5
    )


def test_rows_in_another_order_keep_their_grids():
    raw, expected = blocks(GGMLQuantizationType.Q4_1, 64, 64)
    packed = PackedRows(64, 64, FOUR_BITS)
    packed.write(0, split(raw, GGMLQuantizationType.Q4_1).map(lambda part: part.flip(0)))
    assert torch.equal(packed.unpacked(), expected.flip(0))
