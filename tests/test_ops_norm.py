"""RMSNorm, SwiGLU and the quantisation of rows: kernels against plain torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.kernels import (
    DEVICE,
    assert_fp8_near,
    assert_near,
    drawn,
    integers,
    needs_triton,
    poisoned,
)

from dllm_core.ops.fp8 import FP8, quantize_rows, quantize_weight
from dllm_core.ops.norm import add_rms_norm, add_rms_norm_fp8, rms_norm, rms_norm_fp8
from dllm_core.ops.swiglu import swiglu, swiglu_fp8

pytestmark = pytest.mark.kernels

EPS = 1e-5
SHAPES = [(1, 64), (3, 96), (33, 200), (64, 576)]
DTYPES = [torch.float32, torch.bfloat16]


def test_the_reference_is_torch_s_own_norm():
    x, weight = drawn(5, 48), drawn(48, seed=1)
    torch.testing.assert_close(
        rms_norm.reference(x, weight, EPS), F.rms_norm(x, (48,), weight, EPS)
    )
    normed, total = add_rms_norm.reference(x, 2 * x, weight, EPS)
    torch.testing.assert_close(total, 3 * x)
    torch.testing.assert_close(normed, F.rms_norm(3 * x, (48,), weight, EPS))


def test_the_reference_gate_is_torch_s_silu():
    x = drawn(5, 48)
    torch.testing.assert_close(swiglu.reference(x), F.silu(x[:, :24]) * x[:, 24:])


def test_quantised_rows_come_back_within_half_a_step():
    x = drawn(7, 100) * torch.logspace(-6, 6, 7, device=DEVICE)[:, None]
    quantized, scale = quantize_rows.reference(x)
    back = quantized.float() * scale
    largest = x.abs().amax(-1, keepdim=True)
    assert ((back - x).abs() <= (x.abs() / 16).maximum(largest / 448 * 2.0**-10) * 1.001).all()


def test_a_row_of_zeros_stays_one():
    quantized, scale = quantize_rows.reference(torch.zeros(2, 8))
    assert (quantized.float() * scale == 0).all()


def test_weights_have_a_scale_per_output_channel():
    weight = drawn(5000, 16)
    quantized, scale = quantize_weight(weight)
    assert quantized.dtype == FP8
    assert scale.shape == (5000,)
    torch.testing.assert_close(quantized.float() * scale[:, None], weight, rtol=0.07, atol=0.02)


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_of_the_norm(shape, dtype):
    x, weight = drawn(*shape, dtype=dtype), drawn(shape[1], dtype=dtype, seed=1)
    out = poisoned(*shape, dtype=dtype)
    assert rms_norm.kernel(x, weight, EPS, out=out) is out
    assert_near(out, rms_norm.reference(x.float(), weight.float(), EPS))


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_of_the_sum_and_the_norm(shape, dtype):
    x, residual = drawn(*shape, dtype=dtype), drawn(*shape, dtype=dtype, seed=1)
    weight = drawn(shape[1], dtype=dtype, seed=2)
    normed, total = add_rms_norm.kernel(x, residual, weight, EPS)
    assert torch.equal(total, x + residual)
    assert_near(normed, add_rms_norm.reference(x, residual, weight, EPS)[0])


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_adds_up_the_parts_of_a_sum(dtype):
    parts, residual = drawn(3, 5, 200), drawn(5, 200, dtype=dtype, seed=1)
    weight = drawn(200, dtype=dtype, seed=2)
    normed, total = add_rms_norm.kernel(parts, residual, weight, EPS)
    assert total.dtype == normed.dtype == dtype
    assert_near(total, parts.sum(0) + residual.float())
    assert_near(normed, add_rms_norm.reference(parts, residual, weight, EPS)[0])
    *quantized, total = add_rms_norm_fp8.kernel(parts, residual, weight, EPS)
    assert total.dtype == dtype
    assert_fp8_near(
        tuple(quantized), add_rms_norm_fp8.reference(parts, residual, weight, EPS)[:2], 0.05
    )


@needs_triton
def test_the_sum_may_replace_the_residual():
    x, residual, weight = drawn(3, 64), drawn(3, 64, seed=1), drawn(64, seed=2)
    expected = x + residual
    add_rms_norm.kernel(x, residual, weight, EPS, out=(poisoned(3, 64), residual))
    assert torch.equal(residual, expected)


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernels_that_quantise(shape, dtype):
    x, residual = drawn(*shape, dtype=dtype), drawn(*shape, dtype=dtype, seed=1)
    weight = drawn(shape[1], dtype=dtype, seed=2)
    assert_fp8_near(quantize_rows.kernel(x), quantize_rows.reference(x))
    assert_fp8_near(rms_norm_fp8.kernel(x, weight, EPS), rms_norm_fp8.reference(x, weight, EPS))
    assert_fp8_near(swiglu_fp8.kernel(x), swiglu_fp8.reference(x))
    *actual, total = add_rms_norm_fp8.kernel(x, residual, weight, EPS)
    *expected, _ = add_rms_norm_fp8.reference(x, residual, weight, EPS)
    assert_fp8_near(tuple(actual), tuple(expected))
    assert torch.equal(total, x + residual)


@needs_triton
def test_every_fp8_number_is_hit_exactly():
    numbers = torch.arange(256, dtype=torch.uint8, device=DEVICE).view(FP8).float()
    row = torch.where(numbers.isfinite(), numbers, 0.0)[None]
    quantized, scale = quantize_rows.kernel(row)
    assert scale.item() == 1.0
    assert torch.equal(quantized.float(), row)


@needs_triton
def test_the_kernel_keeps_a_row_of_zeros():
    quantized, scale = quantize_rows.kernel(torch.zeros(2, 8, device=DEVICE))
    assert (quantized.float() * scale == 0).all()


@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 2 * 2300)])
def test_the_kernel_of_the_gate(shape, dtype):
    x = drawn(*shape, dtype=dtype)
    out = poisoned(shape[0], shape[1] // 2, dtype=dtype)
    swiglu.kernel(x, out=out)
    assert_near(out, swiglu.reference(x.float()))


@needs_triton
def test_rows_of_dead_calls_are_neither_read_nor_written():
    live = integers(1, 0, 1)
    x, weight = drawn(6, 64), drawn(64, seed=1)
    expected = rms_norm.reference(x, weight, EPS)
    gates = swiglu.reference(x)
    x[2:4] = torch.nan
    for out, wanted in (
        (rms_norm.kernel(x, weight, EPS, live, out=poisoned(6, 64)), expected),
        (swiglu.kernel(x, live, out=poisoned(6, 32)), gates),
    ):
        assert out[2:4].isnan().all()
        assert_near(out[[0, 1, 4, 5]], wanted[[0, 1, 4, 5]])
    scales = poisoned(6, 1)
    quantize_rows.kernel(x, live, out=(torch.zeros(6, 64, device=DEVICE).to(FP8), scales))
    assert scales.isnan().flatten().tolist() == [False, False, True, True, False, False]
