"""Weights of a GGUF file keep their bits on the way into the CPU's kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize

from dllm_core.bench import geometry
from dllm_core.cpu import pack
from dllm_core.cpu.formats import EIGHT_BITS, FOUR_BITS, Q6_K
from dllm_core.cpu.pack import BlockKind, Blocks
from dllm_core.cpu.packed import PackedRows, Quantised, eight_bits
from dllm_core.model.gguf_blocks import split
from dllm_core.model.quantize import Int4Linear, Int8Linear, Stretch

KINDS = pytest.mark.parametrize("kind", BlockKind, ids=lambda kind: kind.name)
FORMS = pytest.mark.parametrize("form", [FOUR_BITS, EIGHT_BITS], ids=["4", "8"])
PLACES = pytest.mark.parametrize(
    ("start", "stop", "size", "paired"),
    [
        (0, 96, 96, False),  # whole tiles
        (0, 70, 70, False),  # a last tile that is not full
        (8, 24, 64, False),  # rows in the middle of a tile
        (16, 48, 64, False),  # the second column of a tile and the first of the next
        (0, 64, 128, True),  # one half, whole tiles
        (64, 128, 128, True),  # the other half
        (40, 88, 128, True),  # rows of both halves
    ],
)
PORTABLE = pytest.mark.parametrize("portable", [False, True], ids=["host", "portable"])


def blocks(kind: BlockKind, rows: int, columns: int) -> tuple[np.ndarray, torch.Tensor]:
    """Random blocks, and the weights that the reference library reads in them."""
    named = GGMLQuantizationType[kind.value]
    raw = geometry.blocks(named, rows, columns, np.random.default_rng(rows))
    raw[1] = 0
    return raw, torch.from_numpy(dequantize(raw, named))


@KINDS
@PLACES
def test_packed_blocks_are_the_weights_of_the_file(kind, start, stop, size, paired):
    raw, expected = blocks(kind, stop - start, 512)
    packed = PackedRows(512, size, kind.form, paired=paired)
    packed.write(start, split(raw, kind))
    assert torch.equal(packed.unpacked(start, stop), expected)
    assert not packed.unpacked(0, start).any()
    assert not packed.unpacked(stop, size).any()


@KINDS
@PLACES
@PORTABLE
@pytest.mark.kernels
def test_the_kernel_packs_as_the_plain_version(kind, start, stop, size, paired, portable):
    raw, _ = blocks(kind, stop - start, 512)
    plain, fast = (PackedRows(512, size, kind.form, paired=paired) for _ in range(2))
    plain.write(start, split(raw, kind))
    served = pack.serves(fast, start, len(raw))
    assert served == (start % 16 == 0 and not (paired and stop - start < 64))
    if served:
        pack.blocks(fast, start, Blocks(raw, kind), portable=portable)
        assert torch.equal(fast.data, plain.data)


@pytest.mark.parametrize("columns", [512, 96, 40])
@PLACES
@PORTABLE
@pytest.mark.kernels
def test_floats_are_quantised_by_the_kernel_as_by_torch(
    columns, start, stop, size, paired, portable
):
    x = torch.randn(stop - start, columns, generator=torch.Generator().manual_seed(columns))
    x[1] = 0
    x[2] = 2.5
    x[3] *= 1e-20
    x[4, 3] = 1000
    x[5] = (x[5] * 3).round() / 3
    plain, fast = (PackedRows(columns, size, EIGHT_BITS, paired=paired) for _ in range(2))
    groups = torch.nn.functional.pad(x, (0, -columns % 32)).view(len(x), -1, 32)
    plain.write(start, Quantised(*eight_bits(groups), 8))
    if pack.serves(fast, start, len(x)):
        pack.floats(fast, start, x, portable=portable)
        assert torch.equal(fast.data, plain.data)


@pytest.mark.parametrize("kind", [BlockKind.Q4_0, BlockKind.Q4_1, BlockKind.Q8_0])
@FORMS
def test_simple_blocks_fit_wider_formats(kind, form):
    raw, expected = blocks(kind, 64, 96)
    found, packed = split(raw, kind), PackedRows(96, 64, form)
    if found.bits > form.bits:
        with pytest.raises(ValueError, match="8 bits in a format of 4"):
            packed.write(0, found)
        return
    packed.write(0, found)
    assert torch.equal(packed.unpacked(), expected)


@KINDS
@pytest.mark.parametrize("layer", [Int4Linear, Int8Linear])
@pytest.mark.parametrize("planned", [False, True])
def test_a_layer_takes_blocks_of_several_formats(kind, layer, planned):
    """In parts of their own where it is told in time, else in eight bits."""
    made = layer(256, 96)
    (four, first), (raw, second) = blocks(BlockKind.Q4_1, 32, 256), blocks(kind, 64, 256)
    if planned:
        made.plan([Stretch(32, 96, kind.form), Stretch(0, 32, FOUR_BITS)])
    made.store_blocks(0, Blocks(four, BlockKind.Q4_1))
    made.store_blocks(32, Blocks(raw, kind))
    expected = torch.cat([first, second])
    found = torch.cat([part.packed.unpacked() for part in made.parts])
    kept = kind.form in layer.natives and planned
    narrow = kind in (BlockKind.Q4_0, BlockKind.Q4_1, BlockKind.Q8_0)
    if kept or narrow:
        assert torch.equal(found, expected)
    else:  # off by half of one of 255 steps
        spread = second.view(64, 8, 32).amax(-1) - second.view(64, 8, 32).amin(-1)
        off = (found - expected)[32:].view(64, 8, 32).abs().amax(-1)
        assert (off <= 0.51 * spread / 255).all()
    if kept and layer is Int4Linear:
        assert [part.packed.form for part in made.parts][-1] is kind.form
    x = torch.randn(3, 256, generator=torch.Generator().manual_seed(1))
    products = x @ found.T
    torch.testing.assert_close(made(x), products, rtol=0, atol=1e-4 * float(products.abs().max()))


@pytest.mark.parametrize("paired", [False, True])
def test_what_cannot_be_divided_has_eight_bits(paired):
    made = Int4Linear(256, 64)
    if paired:
        made.pair()
    border = 32 if paired else 24
    (four, first), (raw, second) = (
        blocks(BlockKind.Q4_1, border, 256),
        blocks(BlockKind.Q6_K, 64 - border, 256),
    )
    made.plan([Stretch(0, border, FOUR_BITS), Stretch(border, 64, Q6_K)])
    assert made.packed.form is EIGHT_BITS
    made.store_blocks(0, Blocks(four, BlockKind.Q4_1))
    made.store_blocks(border, Blocks(raw, BlockKind.Q6_K))
    found = made.packed.unpacked()
    assert torch.equal(found[:border], first)
    torch.testing.assert_close(found[border:], second, rtol=0, atol=float(second.abs().max()) / 200)


def test_rows_in_another_order_keep_their_grids():
    raw, expected = blocks(BlockKind.Q4_1, 64, 64)
    packed = PackedRows(64, 64, FOUR_BITS)
    packed.write(0, split(raw, BlockKind.Q4_1).map(lambda part: part.flip(0)))
    assert torch.equal(packed.unpacked(), expected.flip(0))
