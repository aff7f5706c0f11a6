"""Linear layers for few rows: kernels against plain torch."""

from __future__ import annotations

import pytest
import torch
from support.kernels import DEVICE, assert_near, drawn, integers, needs_triton, poisoned

from dllm_core.errors import OptionError
from dllm_core.ops.fp8 import FP8, quantize_rows, quantize_weight
from dllm_core.ops.linear import linear, linear_fp8, linear_fp8_parts, linear_parts

pytestmark = pytest.mark.kernels

SHAPES = [(1, 16, 64), (3, 130, 96), (33, 128, 200), (64, 300, 264), (130, 96, 128)]
"""Rows, outputs, inputs: multiples of no tile among them."""


def weights(n: int, k: int, dtype: torch.dtype = torch.float32):
    """Weights whose products are about 1."""
    return (drawn(n, k, seed=1) * k**-0.5).to(dtype)


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("rows", "n", "k"), SHAPES)
def test_the_kernel_of_a_linear_layer(rows, n, k, biased, dtype):
    x, weight = drawn(rows, k, dtype=dtype), weights(n, k, dtype)
    bias = drawn(n, dtype=dtype, seed=2) if biased else None
    out = poisoned(rows, n, dtype=dtype)
    assert linear.kernel(x, weight, bias, out=out) is out
    wide = None if bias is None else bias.float()
    assert_near(out, linear.reference(x.float(), weight.float(), wide))


@needs_triton
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("splits", [1, 2, 3, 8])
def test_the_sum_may_be_split(splits, biased):
    from dllm_core.ops.product_kernel import Tile

    x, weight = drawn(17, 1100), weights(200, 1100)
    bias = drawn(200, seed=2) if biased else None
    tile = Tile(m=32, n=64, k=64, splits=splits, warps=4, stages=2)
    actual = linear.kernel(x, weight, bias, out=poisoned(17, 200), tile=tile)
    assert_near(actual, linear.reference(x, weight, bias))


def quantised(rows: int, n: int, k: int):
    return (*quantize_rows.reference(drawn(rows, k)), *quantize_weight(weights(n, k)))


@needs_triton
@pytest.mark.parametrize(("rows", "n", "k"), SHAPES)
def test_the_parts_of_a_layer_add_up(rows, n, k):
    x, weight = drawn(rows, k), weights(n, k)
    assert_near(linear_parts.kernel(x, weight).sum(0), linear.reference(x, weight))
    operands = quantised(rows, n, k)
    expected = linear_fp8_parts.reference(*operands)[0]
    assert_near(linear_fp8_parts.kernel(*operands).sum(0), expected)


@needs_triton
def test_a_layer_with_few_outputs_comes_in_parts():
    assert len(linear_parts.kernel(drawn(3, 1024), weights(64, 1024))) > 1


def test_the_fp8_reference_is_near_the_full_product():
    x, weight = drawn(5, 512), weights(40, 512)
    actual = linear_fp8.reference(*quantised(5, 40, 512)).float()
    error = (actual - x @ weight.T).norm() / (x @ weight.T).norm()
    assert error < 0.05


@needs_triton
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("rows", "n", "k"), SHAPES)
def test_the_kernel_of_an_fp8_layer(rows, n, k, biased):
    operands = quantised(rows, n, k)
    bias = drawn(n, dtype=torch.bfloat16, seed=2) if biased else None
    out = poisoned(rows, n, dtype=torch.bfloat16)
    assert linear_fp8.kernel(*operands, bias, out=out) is out
    assert_near(out, linear_fp8.reference(*operands, bias))


@needs_triton
def test_an_fp8_layer_refuses_other_types():
    x, scale, weight, weight_scale = quantised(2, 16, 32)
    with pytest.raises(OptionError, match=r"takes float8_e4m3fn, not torch\.float32"):
        linear_fp8.kernel(x.float(), scale, weight, weight_scale)


@needs_triton
@pytest.mark.parametrize("bias", [None, 1.0])
def test_torch_may_be_chosen(bias):
    x, weight = drawn(3, 64), weights(20, 64)
    bias = None if bias is None else torch.full((20,), bias, device=DEVICE)
    out = poisoned(3, 20)
    assert linear.kernel(x, weight, bias, choice="torch", out=out) is out
    assert_near(out, linear.reference(x, weight, bias))
    assert_near(linear.kernel(x, weight, bias, choice="torch"), out)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE.type != "cuda", reason="no CUDA device")
@pytest.mark.parametrize("rows", [16, 64, 256])
def test_torch_s_own_fp8_product_agrees(rows):
    operands = quantised(rows, 256, 512)
    actual = linear_fp8.kernel(*operands, choice="torch")
    assert_near(actual, linear_fp8.reference(*operands))


@needs_triton
@pytest.mark.parametrize("k", [128, 1100])
def test_tiles_without_a_live_row_are_skipped(k):
    """Tiles of 128 rows hold 19 or 20 of 40 sequences with 7 rows; the middle ones are all dead."""
    sequences = [0] * 40
    sequences[2], sequences[39] = 1, 1
    x, weight = drawn(280, k), weights(96, k)
    expected = linear.reference(x, weight)
    x[128:256] = torch.nan
    actual = linear.kernel(x, weight, None, integers(*sequences), out=poisoned(280, 96))
    for rows in (slice(14, 21), slice(273, 280)):
        assert_near(actual[rows], expected[rows])
    assert actual[128:256].isnan().all()


@needs_triton
def test_nothing_is_done_when_nobody_lives():
    out = poisoned(6, 40)
    linear.kernel(drawn(6, 64), weights(40, 64), None, integers(0, 0, 0), out=out)
    assert out.isnan().all()


def test_fp8_is_the_format_with_finite_numbers_only():
    assert torch.finfo(FP8).max == 448
