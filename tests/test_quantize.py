"""Packed weights: what they keep of a matrix, and the layers around them."""

import pytest
import torch
from support.packed import four_bit

from dllm_core.cpu.formats import EIGHT_BITS, FOUR_BITS
from dllm_core.cpu.packed import PackedRows
from dllm_core.model.quantize import Int4Linear, Int8Linear


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_four_bits_are_kept_as_they_are_in_four_and_in_eight() -> None:
    weight = four_bit(96, 64)
    for form in (FOUR_BITS, EIGHT_BITS):
        packed = PackedRows(64, 96, form)
        assert packed.store(0, weight)
        torch.testing.assert_close(packed.unpacked(), weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize("used", [8, 11, 13, 14])
def test_four_bits_need_not_use_their_first_and_last_level(used: int) -> None:
    """As a file quantised with an importance matrix has them, here and there."""
    weight = four_bit(64, 96)
    groups = weight.view(64, 3, 32)
    least, most = groups[5, 1].min(), groups[5, 1].max()
    levels = torch.arange(32) % (used + 1) + 1
    groups[5, 1] = least + ((most - least) / 15).half().float() * levels
    layer = Int4Linear(96, 64)
    layer.store_rows(0, weight)
    assert layer.packed.form is FOUR_BITS
    step = float((most - least) / 15)
    assert float((layer.packed.unpacked() - weight).abs().max()) <= 0.01 * step


def test_eight_bits_about_zero_are_kept_as_they_are() -> None:
    levels = torch.randint(-127, 128, (32, 2, 32), generator=torch.Generator().manual_seed(1))
    levels[..., 5] = 127  # Q8_0 has a largest one in every group
    weight = (levels * 0.003).view(32, 64)
    packed = PackedRows(64, 32, EIGHT_BITS)
    packed.store(0, weight)
    torch.testing.assert_close(packed.unpacked(), weight, atol=1e-6, rtol=0)


def test_other_weights_are_off_by_half_a_step_of_their_group() -> None:
    weight = drawn(64, 96)
    packed = PackedRows(96, 64, EIGHT_BITS)
    packed.store(0, weight)
    groups = weight.view(64, 3, 32)
    half = (groups.amax(-1) - groups.amin(-1)) / 255 / 2
    error = (packed.unpacked() - weight).view(64, 3, 32).abs().amax(-1)
    assert (error <= 1.01 * half).all()


@pytest.mark.parametrize("paired", [False, True])
def test_rows_are_stored_wherever_they_begin(paired: bool) -> None:
    weight = four_bit(128, 32)
    whole, pieces = (PackedRows(32, 128, FOUR_BITS, paired=paired) for _ in range(2))
    whole.store(0, weight)
    for start, stop in ((40, 128), (0, 7), (7, 40)):
        pieces.store(start, weight[start:stop])
    assert torch.equal(whole.data, pieces.data)
    torch.testing.assert_close(pieces.unpacked(9, 70), weight[9:70], atol=1e-6, rtol=0)


def test_a_row_need_not_fill_its_last_group_nor_the_rows_a_tile() -> None:
    weight = drawn(50, 40)
    packed = PackedRows(40, 50, EIGHT_BITS)
    packed.store(0, weight)
    torch.testing.assert_close(packed.unpacked(), weight, atol=0.02, rtol=0)


def test_bfloat16_weights_lose_no_more_than_others() -> None:
    rows = drawn(64, 96).bfloat16()
    narrow, wide = (PackedRows(96, 64, EIGHT_BITS) for _ in range(2))
    narrow.store(0, rows)
    wide.store(0, rows.float())
    assert torch.equal(narrow.data, wide.data)


def test_zeros_stay_zeros() -> None:
    for layer in (Int8Linear(8, 4), Int4Linear(8, 4)):
        layer.store_rows(0, torch.zeros(4, 8))
        assert torch.equal(layer(torch.zeros(2, 8)), torch.zeros(2, 4))
        assert torch.equal(layer(torch.ones(2, 8)), torch.zeros(2, 4))


def test_a_layer_whose_weights_are_not_all_of_four_bits_has_eight() -> None:
    """In which the first ones, stored already, stay what they are."""
    four, other = four_bit(64, 32), drawn(64, 32)
    layer = Int4Linear(32, 128)
    layer.store_rows(0, four)
    assert layer.packed.form is FOUR_BITS
    layer.store_rows(64, other)
    assert layer.packed.form is EIGHT_BITS
    torch.testing.assert_close(layer.packed.unpacked(0, 64), four, atol=1e-6, rtol=0)
    torch.testing.assert_close(layer.packed.unpacked(64), other, atol=0.02, rtol=0)


def test_int8_has_eight_bits_whatever_the_checkpoint_has() -> None:
    layer = Int8Linear(32, 64)
    layer.store_rows(0, four_bit(64, 32))
    assert layer.packed.form is EIGHT_BITS


def test_a_bias_is_added() -> None:
    layer = Int8Linear(32, 50, bias=True)
    layer.store_rows(0, drawn(50, 32))
    x, plain = drawn(3, 32, seed=2), layer(drawn(3, 32, seed=2))
    assert layer.bias is not None
    layer.bias.copy_(drawn(50, seed=3))
    torch.testing.assert_close(layer(x), plain + drawn(50, seed=3))
