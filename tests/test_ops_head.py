"""The best token and its probability without logits: kernels against plain torch."""

from __future__ import annotations

import pytest
import torch
from support.kernels import DEVICE, drawn, integers, needs_triton, poisoned

from dllm_core.decode import unmask
from dllm_core.ops.head import top1

pytestmark = pytest.mark.kernels

BOTH = [
    pytest.param(lambda operation: operation.reference, id="reference"),
    pytest.param(lambda operation: operation.kernel, id="kernel", marks=needs_triton),
]


def assert_same(actual, expected):
    assert torch.equal(actual[0], expected[0])
    torch.testing.assert_close(actual[1], expected[1], rtol=1e-4, atol=1e-6)


def test_the_reference_predicts_what_the_decode_rules_do():
    hidden, weight = drawn(7, 32), drawn(9000, 32, seed=1)
    ids, sure = unmask.predict(hidden @ weight.T)
    assert_same(top1.reference(hidden, weight), (ids, sure.float()))


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("rows", "vocabulary", "h"), [(1, 1, 16), (3, 127, 64), (33, 129, 96), (64, 700, 72)]
)
def test_the_kernel_of_the_head(rows, vocabulary, h, dtype):
    hidden, weight = drawn(rows, h, dtype=dtype), drawn(vocabulary, h, dtype=dtype, seed=1)
    ids = torch.full((rows,), -1, device=DEVICE)
    out = (ids, poisoned(rows))
    assert top1.kernel(hidden, weight, out=out) is out
    assert_same(out, top1.reference(hidden, weight))


@pytest.mark.parametrize("implementation", BOTH)
def test_of_equals_the_lowest_token_wins(implementation):
    # Whole numbers: equal logits stay equal in whatever order they are summed.
    weight = drawn(400, 32).clamp(-1, 1).round()
    best = 2 * drawn(32, seed=1).sign()
    weight[7] = weight[130] = weight[131] = weight[399] = best
    ids, probability = implementation(top1)(best[None].clone(), weight)
    assert ids.tolist() == [7]
    assert probability.item() == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize("implementation", BOTH)
def test_banned_tokens_count_for_nothing(implementation):
    hidden, weight = drawn(3, 32), drawn(300, 32, seed=1)
    banned = top1.reference(hidden, weight)[0].to(torch.int32)
    allowed = torch.ones(300, dtype=torch.bool, device=DEVICE)
    allowed[banned.long()] = False
    expected = top1.reference(hidden, weight[allowed])
    expected = (allowed.nonzero().squeeze(-1)[expected[0]], expected[1])
    assert_same(implementation(top1)(hidden, weight, banned), expected)


@needs_triton
def test_a_tile_of_which_every_token_is_banned_adds_nothing():
    hidden, weight = drawn(2, 32), drawn(130, 32, seed=1)
    banned = integers(128, 129)
    assert_same(top1.kernel(hidden, weight, banned), top1.reference(hidden, weight[:128]))


@needs_triton
def test_large_logits_do_not_overflow():
    hidden, weight = 1e3 * drawn(3, 32), drawn(300, 32, seed=1)
    assert_same(top1.kernel(hidden, weight), top1.reference(hidden, weight))


@needs_triton
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_rows_without_numbers_still_name_a_token():
    ids, _ = top1.kernel(poisoned(2, 32), drawn(300, 32))
    assert ((ids >= 0) & (ids < 300)).all()


@needs_triton
def test_dead_calls_keep_their_rows():
    hidden, weight = drawn(4, 32), drawn(300, 32, seed=1)
    expected = top1.reference(hidden, weight)
    out = (torch.full((4,), -1, device=DEVICE), poisoned(4))
    top1.kernel(hidden, weight, None, integers(1, 0), out=out)
    assert out[0].tolist() == [*expected[0][:2].tolist(), -1, -1]
    assert out[1].isnan().tolist() == [False, False, True, True]
