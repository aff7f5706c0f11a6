import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import tiny_cache, tiny_config, tiny_model

from dllm_core.config import DecodeOptions
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.decode.schedule import CostModel, Deadline
from dllm_core.decode.unmask import quota, timestep_quota

MODEL = tiny_model(tiny_config(attention="bidirectional", mask_id=60, eos_ids=()))


@given(st.integers(1, 64), st.integers(1, 64))
def test_quotas_sum_to_the_canvas_and_never_grow(positions: int, steps: int) -> None:
    left, taken = positions, []
    for i in range(steps):
        taken.append(quota(left, steps - i))
        left -= taken[-1]
    assert left == 0
    assert taken == sorted(taken, reverse=True)
    base, extra = divmod(positions, steps)
    assert taken == [base + (i < extra) for i in range(steps)]  # LLaDA's schedule


@given(st.integers(1, 64), st.integers(1, 64))
def test_timesteps_end_with_nothing_left(positions: int, steps: int) -> None:
    left = positions
    for i in range(steps):
        left -= timestep_quota(left, i, steps)
        assert left >= 0
    assert left == 0


def test_the_cost_model_finds_what_it_was_given() -> None:
    truth = CostModel(3.0, 0.5, 0.002)
    shapes = [(2, 32), (2, 256), (16, 64), (32, 64), (32, 256)]
    found = CostModel.fitted([(r, v, truth.predict(r, v)) for r, v in shapes])
    assert found.predict(24, 128) == pytest.approx(truth.predict(24, 128))


@given(st.lists(st.floats(0.1, 100), min_size=5, max_size=5))
def test_more_work_never_seems_cheaper(times: list[float]) -> None:
    shapes = [(2, 32), (2, 256), (16, 64), (32, 64), (32, 256)]
    cost = CostModel.fitted([(r, v, ms) for (r, v), ms in zip(shapes, times, strict=True)])
    assert cost.predict(8, 64) <= cost.predict(16, 64) <= cost.predict(16, 128)


def test_the_cost_model_follows_the_load() -> None:
    cost = CostModel(10.0)
    for _ in range(40):
        cost.observe(8, 64, 25.0)
    assert cost.predict(8, 64) == pytest.approx(25.0, rel=0.01)


@settings(deadline=None, max_examples=50)
@given(
    budget=st.floats(0.0, 300.0),
    step_ms=st.floats(1.0, 60.0),
    belief=st.floats(0.2, 5.0),
    block=st.sampled_from([None, 4, 8]),
)
def test_a_deadline_is_missed_by_one_step_at_most(
    budget: float, step_ms: float, belief: float, block: int | None
) -> None:
    now = 0.0
    pace = Deadline(budget / 1e3, CostModel(step_ms * belief), clock=lambda: now)
    canvas = Canvas.after(MODEL.config, [5, 9, 2], 16, torch.device("cpu"))
    options = DecodeOptions(rule="quota", block_length=block, eos_last=False)
    denoiser = Diffusion(MODEL.config, canvas, tiny_cache(MODEL), options, pace=pace)
    steps = 0
    while not denoiser.done:
        forward = denoiser.plan()
        now += step_ms / 1e3
        steps += 1
        pace.cost.observe(*forward.shape, step_ms)
        denoiser.absorb(run(MODEL, forward))
    late = now * 1e3 - budget
    assert late <= step_ms * (1 + 1e-9)
    assert steps <= 16
