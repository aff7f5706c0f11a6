"""Lower bounds on a step and memory plans at the geometry of LLaDA-8B."""

from pathlib import Path

import pytest
import torch

from dllm_core.errors import PagesFullError
from dllm_core.gpu.memory_plan import MemoryPlan, page_bytes, weight_bytes
from dllm_core.gpu.roofline import H100, LLADA_8B, kernel_table, kernels, step_bound, table

BF16, FP8 = torch.bfloat16, torch.float8_e4m3fn
CARD = 80 * 10**9


@pytest.mark.parametrize(
    ("rows", "fp8", "memory", "compute"),
    [
        (64, False, 4.57, 1.22),
        (128, False, 4.59, 2.45),
        (512, False, 4.64, 9.94),
        (64, True, 2.5, 0.66),
    ],
)
def test_floors_are_those_of_the_arithmetic_by_hand(
    rows: int, fp8: bool, memory: float, compute: float
) -> None:
    found = step_bound(LLADA_8B, H100, batch=1, rows=rows, cached=512, fp8=fp8)
    assert found.memory_ms == pytest.approx(memory, rel=0.02)
    assert found.compute_ms == pytest.approx(compute, rel=0.02)
    assert found.ms == max(found.memory_ms, found.compute_ms)


def test_a_batch_of_32_is_bound_by_computing() -> None:
    found = step_bound(LLADA_8B, H100, batch=32, rows=64, cached=512)
    assert found.ms == found.compute_ms > found.memory_ms


def test_the_page_shows_the_tables_that_are_printed() -> None:
    page = (Path(__file__).parents[1] / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert "\n".join(table()) in page
    assert "\n".join(kernel_table()) in page


def test_llada_8b_and_32_calls_of_2000_tokens_fit_80_gb() -> None:
    weights = weight_bytes(LLADA_8B, BF16, BF16)
    assert weights == pytest.approx(8.02e9 * 2, rel=1e-3)
    assert page_bytes(LLADA_8B, BF16) == 64 * 524_288
    memory_plan = MemoryPlan.of(LLADA_8B, BF16, 2000, rows=32 * 64, free=CARD - weights)
    pages = memory_plan.pages(sequences=32)
    assert memory_plan.sequences(pages) == 32
    spare = CARD - weights - memory_plan.workspace - pages * memory_plan.page
    assert spare > 10e9
    more = memory_plan.pages(sequences=64)
    assert 45 < memory_plan.sequences(more) < 64
    assert more * memory_plan.page + memory_plan.workspace + weights <= CARD


def test_fp8_weights_leave_room_for_more_sequences() -> None:
    free = [CARD - weight_bytes(LLADA_8B, BF16, matrices) for matrices in (BF16, FP8)]
    assert free[1] - free[0] == pytest.approx(6.98e9, rel=1e-2)


def test_a_card_too_small_for_one_call_is_refused() -> None:
    memory_plan = MemoryPlan.of(LLADA_8B, BF16, 2000, rows=64, free=3 * 10**9)
    with pytest.raises(PagesFullError, match=r"takes 1\.00 GiB .* smaller context, or .* fp8"):
        memory_plan.pages(sequences=1)


def test_the_kernels_move_what_the_floor_counts_and_little_more() -> None:
    moved = sum(k.count * k.bytes for k in kernels(LLADA_8B, batch=1, rows=64, cached=512))
    memory = step_bound(LLADA_8B, H100, batch=1, rows=64, cached=512).memory_ms / 1e3 * H100.bytes
    assert memory < moved < 1.1 * memory
