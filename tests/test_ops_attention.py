"""Rotary positions, the paged cache and the attention to it: kernels against plain torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.kernels import DEVICE, assert_near, drawn, integers, needs_triton, poisoned

from dllm_core.config import ModelConfig
from dllm_core.model.transformer import Rotary, rotate
from dllm_core.ops import PAGE
from dllm_core.ops.attention import canvas_attention
from dllm_core.ops.rotary import rotate_and_store

pytestmark = pytest.mark.kernels

D = 64
DTYPES = [torch.float32, torch.bfloat16]


def tables(context: int, d: int):
    angles = torch.outer(torch.arange(context), 1e4 ** (-torch.arange(0, d, 2) / d))
    return angles.cos().to(DEVICE), angles.sin().to(DEVICE)


def pools(n_kv: int, d: int, pages: int, dtype=torch.float32):
    return poisoned(pages, n_kv, PAGE, d, dtype=dtype), poisoned(pages, n_kv, PAGE, d, dtype=dtype)


def test_the_rotation_is_that_of_the_model():
    config = ModelConfig(
        family="test",
        vocab_size=8,
        hidden_size=8,
        intermediate_size=8,
        num_layers=1,
        num_heads=3,
        num_kv_heads=1,
        head_dim=D,
        context_length=300,
        rope_theta=1e4,
        norm_eps=1e-6,
        eos_ids=(1,),
    )
    rotary, (cos, sin) = Rotary(config, 300), tables(300, D)
    qkv, positions = drawn(5, 5 * D), integers(0, 1, 70, 200, 299)
    keys, values = pools(1, D, 1)
    q = rotate_and_store.reference(
        qkv, cos, sin, positions, integers(0, 1, 2, 3, 4, dtype=torch.int64), keys, values
    )
    angles = rotary.cos[positions.cpu()].to(DEVICE), rotary.sin[positions.cpu()].to(DEVICE)
    expected = rotate(qkv.view(5, 5, D)[:, :4], angles)
    torch.testing.assert_close(q, expected[:, :3])
    torch.testing.assert_close(keys[0, :, :5].transpose(0, 1), expected[:, 3:])
    assert torch.equal(values[0, 0, :5], qkv[:, -D:])


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(("n_q", "n_kv", "d"), [(4, 4, 64), (9, 3, 64), (16, 2, 128), (3, 1, 16)])
def test_the_kernel_rotates_and_stores(n_q, n_kv, d, normed, dtype):
    count, pages = 33, 5
    qkv = drawn(count, (n_q + 2 * n_kv) * d, dtype=dtype)
    cos, sin = tables(400, d)
    generator = torch.Generator().manual_seed(0)
    positions = torch.randint(400, (count,), generator=generator, dtype=torch.int32).to(DEVICE)
    slots = torch.randperm(pages * PAGE, generator=generator)[:count].to(DEVICE)
    norms = (drawn(d, dtype=dtype, seed=1), drawn(d, dtype=dtype, seed=2)) if normed else ()
    keys, values = pools(n_kv, d, pages, dtype)
    wide_keys, wide_values = pools(n_kv, d, pages)
    out = poisoned(count, n_q, d, dtype=dtype)
    rotate_and_store.kernel(qkv, cos, sin, positions, slots, keys, values, *norms, out=out)
    expected = rotate_and_store.reference(
        qkv.float(), cos, sin, positions, slots, wide_keys, wide_values, *norms
    )
    assert_near(out, expected)
    for pool, wide in ((keys, wide_keys), (values, wide_values)):
        assert torch.equal(pool.isnan(), wide.isnan())
        assert_near(pool.nan_to_num(), wide.nan_to_num())


@pytest.mark.parametrize(
    "run",
    [rotate_and_store.reference, pytest.param("kernel", marks=needs_triton)],
    ids=["reference", "kernel"],
)
def test_dead_calls_store_nothing(run):
    run = rotate_and_store.kernel if run == "kernel" else run
    keys, values = pools(1, D, 2)
    cos, sin = tables(10, D)
    slots = integers(3, 4, -(10**9), 10**9, dtype=torch.int64)
    positions = integers(0, 1, 2, 3)
    q = run(drawn(4, 3 * D), cos, sin, positions, slots, keys, values, live=integers(1, 0))
    assert q[:2].isfinite().all()
    written = keys.isfinite().all(-1).nonzero().tolist()
    assert written == [[0, 0, 3], [0, 0, 4]]
    assert values.isfinite().all(-1).nonzero().tolist() == written


def cache(visible: list[int], n_kv: int, d: int, dtype: torch.dtype, max_pages: int = 4):
    """Sequences with pages strewn over the pool; NaN in every position that none of them sees."""
    sequences = len(visible)
    spare = 3
    keys, values = pools(n_kv, d, sequences * max_pages + spare, dtype)
    order = (
        torch.randperm(sequences * max_pages, generator=torch.Generator().manual_seed(0)) + spare
    )
    table = order.view(sequences, max_pages).to(DEVICE, torch.int32)
    for sequence, count in enumerate(visible):
        for position in range(count):
            page, offset = table[sequence, position // PAGE], position % PAGE
            keys[page, :, offset] = drawn(n_kv, d, dtype=dtype, seed=1000 * sequence + position)
            values[page, :, offset] = drawn(n_kv, d, dtype=dtype, seed=5000 * sequence + position)
        # Entries behind the last page may be anything.
        table[sequence, -(-count // PAGE) :] = 10**6
    return keys, values, table, integers(*visible)


def test_the_reference_is_torch_s_own_attention():
    keys, values, table, visible = cache([130], 2, D, torch.float32)
    q = drawn(1, 5, 6, D)
    k, v = (
        pool[table[0, :3].long()].transpose(0, 1).flatten(1, 2)[:, :130].repeat_interleave(3, 0)
        for pool in (keys, values)
    )
    expected = F.scaled_dot_product_attention(q[0].transpose(0, 1), k, v).transpose(0, 1)
    actual = canvas_attention.reference(q, keys, values, table, visible)
    torch.testing.assert_close(actual[0], expected, rtol=1e-4, atol=1e-5)


LENGTHS = [0, 1, 63, 64, 65, 200]


@needs_triton
@pytest.mark.parametrize("splits", [None, 1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kernel_of_attention_over_calls_of_every_length(dtype, splits):
    keys, values, table, visible = cache(LENGTHS, 2, D, dtype)
    q = drawn(len(LENGTHS), 5, 2, D, dtype=dtype)
    out = poisoned(*q.shape, dtype=dtype)
    canvas_attention.kernel(q, keys, values, table, visible, None, splits, out=out)
    assert_near(out, canvas_attention.reference(q.float(), keys, values, table, visible))


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 33, 64, 65])
@pytest.mark.parametrize(("n_q", "n_kv", "d"), [(2, 2, 128), (9, 3, 16), (8, 1, 32)])
def test_the_kernel_of_attention_over_shapes(n_q, n_kv, d, rows, splits):
    keys, values, table, visible = cache([70, 30 + rows], n_kv, d, torch.float32)
    q = drawn(2, rows, n_q, d)
    out = poisoned(*q.shape)
    canvas_attention.kernel(q, keys, values, table, visible, None, splits, out=out)
    assert_near(out, canvas_attention.reference(q, keys, values, table, visible))


@needs_triton
@pytest.mark.parametrize("splits", [1, 2])
def test_dead_calls_are_not_attended(splits):
    keys, values, table, visible = cache([70, 64, 65], 1, D, torch.float32)
    expected = canvas_attention.reference(
        q := drawn(3, 4, 2, D), keys, values, table, visible, live := integers(1, 0, 1)
    )
    # A dead sequence may have lost its pages.
    table[1], visible[1] = -(10**6), 10**6
    out = canvas_attention.kernel(
        q, keys, values, table, visible, live, splits, out=poisoned(*q.shape)
    )
    assert out[1].isnan().all()
    assert_near(out[[0, 2]], expected[[0, 2]])


@needs_triton
def test_large_scores_do_not_overflow():
    keys, values, table, visible = cache([65], 1, D, torch.float32)
    q = 1e4 * drawn(1, 3, 1, D)
    actual = canvas_attention.kernel(q, keys, values, table, visible, None, 2)
    assert_near(actual, canvas_attention.reference(q, keys, values, table, visible))
