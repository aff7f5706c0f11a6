"""Choosing tiles by measuring: what is tried is right, and what wins is used."""

from __future__ import annotations

import pytest
import torch
from support.kernels import DEVICE, assert_near, drawn, needs_triton

from dllm_core.errors import OptionError
from dllm_core.ops import cases, check
from dllm_core.ops.linear import linear, linear_fp8
from tests.test_ops_check import TINY, one_wrong, spoiled

pytestmark = [needs_triton, pytest.mark.kernels]
HOPPER_SHARED_BYTES = 227 * 1024


@pytest.fixture
def product(monkeypatch):
    from dllm_core.ops import product_kernel

    monkeypatch.setattr(product_kernel, "_measured", {})
    return product_kernel


def shapes(rows: int, n: int, k: int, dtype=torch.bfloat16):
    return (torch.empty(size, dtype=dtype, device="meta") for size in ((rows, k), (n, k)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize(("rows", "n", "k"), [(1, 4096, 4096), (64, 24576, 4096), (130, 64, 96)])
def test_candidates_fit_a_processor(product, rows, n, k, dtype):
    x, weight = shapes(rows, n, k, dtype)
    tiles = product.candidates(x, weight)
    assert len(set(tiles)) == len(tiles)
    assert tiles[0] == product.tile_for(x, weight)
    assert max(tile.shared_bytes(weight.element_size()) for tile in tiles) < HOPPER_SHARED_BYTES
    assert {tile.splits for tile in product.candidates(x, weight, may_split=False)} == {1}


def test_every_candidate_is_right(product):
    x, weight = drawn(9, 1024), drawn(140, 1024, seed=1) / 32
    expected = linear.reference(x, weight)
    for tile in product.candidates(x, weight)[::5]:
        assert_near(linear.kernel(x, weight, tile=tile), expected)


def test_the_fastest_is_used_from_then_on(product):
    from dllm_core.ops.tune import best_tile

    x, weight = shapes(64, 4096, 4096)
    slowest_first = iter(range(1000, 0, -1))
    won = best_tile(
        lambda tile: None, x, weight, may_split=True, timer=lambda call: next(slowest_first)
    )
    assert won == product.candidates(x, weight)[-1] == product.tile_for(x, weight)
    other, _ = shapes(65, 4096, 4096)
    assert product.tile_for(other, weight) != won


def test_a_line_tells_prediction_and_time(product):
    from dllm_core.ops.tune import measure

    (case,) = (case for case in cases.CASES if case.operation is linear_fp8 and "out" in case.name)
    calls = []

    def timer(call):
        calls.append(call)
        return 7.0

    line = measure(case, TINY, DEVICE, timer)
    assert line.startswith("linear_fp8 out")
    assert "7.0 us measured  Tile(m=16, n=128" in line
    assert len(calls) > 1


def test_nothing_wrong_is_timed(monkeypatch):
    from dllm_core.ops import tune

    monkeypatch.setattr(check, "CASES", (spoiled("swiglu", one_wrong),))
    monkeypatch.setattr(check, "GEOMETRIES", {"tiny": TINY})
    with pytest.raises(OptionError, match="are not timed:\nWRONG  tiny"):
        next(tune.measure_all(TINY, DEVICE, lambda call: pytest.fail("was timed")))
