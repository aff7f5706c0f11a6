import pytest
import torch
from support.tiny import tiny_cache, tiny_config, tiny_model

from dllm_core import DecodeOptions, QueueFullError
from dllm_core.decode.batch import Batch
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import Denoiser, run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.decode.fixed_point import FixedPoint
from dllm_core.model.transformer import Transformer

BIDIRECTIONAL = tiny_model(tiny_config(attention="bidirectional", mask_id=60, eos_ids=()))
BLOCKS = tiny_model(tiny_config(block_length=4, shift=False, mask_id=60, eos_ids=()))
CAUSAL = tiny_model(tiny_config(eos_ids=()))
PROMPTS = [
    [5, 9, 2],
    [44, 17, 3, 8, 21, 30, 31],
    [11],
    [50, 50, 50, 2],
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
]


def denoiser(model: Transformer, i: int) -> Denoiser:
    cache = tiny_cache(model)
    if model is CAUSAL:
        return FixedPoint(model.config, cache, PROMPTS[i][0], 3, 10 + i)
    canvas = Canvas.after(model.config, PROMPTS[i], 6 + 3 * i, torch.device("cpu"))
    options = DecodeOptions(rule="threshold", threshold=0.3, eos_last=False)
    return Diffusion(model.config, canvas, cache, options)


def alone(model: Transformer, i: int) -> list[int]:
    single = denoiser(model, i)
    while not single.done:
        single.absorb(run(model, single.plan()))
    return single.final()


@pytest.mark.parametrize("model", [BIDIRECTIONAL, BLOCKS, CAUSAL])
def test_a_reply_does_not_depend_on_its_neighbours(model: Transformer) -> None:
    batch = Batch(model, size=3)
    tickets = [batch.submit(denoiser(model, i)) for i in range(3)]
    batch.step()
    tickets += [batch.submit(denoiser(model, i)) for i in range(3, 5)]  # these join later
    while not batch.idle:
        batch.step()
    assert [t.work.final() for t in tickets] == [alone(model, i) for i in range(5)]


def test_the_earliest_deadline_is_served_first_and_patience_is_finite() -> None:
    now = 0.0
    batch = Batch(CAUSAL, size=1, patience=5.0, clock=lambda: now)
    patient = batch.submit(denoiser(CAUSAL, 0))
    late = batch.submit(denoiser(CAUSAL, 0), due=9.0)
    urgent = batch.submit(denoiser(CAUSAL, 0), due=1.0)
    done = []
    while not batch.idle:
        done += batch.step()
    assert done == [urgent, patient, late]


def test_a_reply_that_fails_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(CAUSAL, size=3)
    tickets = [batch.submit(denoiser(CAUSAL, i)) for i in range(3)]

    def fails(logits: torch.Tensor) -> None:
        raise ValueError("out of order")

    monkeypatch.setattr(tickets[1].work, "absorb", fails)
    while not batch.idle:
        batch.step()
    assert str(tickets[1].error) == "out of order"
    assert [tickets[i].work.final() for i in (0, 2)] == [alone(CAUSAL, i) for i in (0, 2)]


def test_a_cancelled_request_leaves_between_steps() -> None:
    batch = Batch(CAUSAL, size=2)
    kept, dropped, waiting = (batch.submit(denoiser(CAUSAL, i)) for i in range(3))
    batch.step()
    dropped.cancel()
    waiting.cancel()
    before = dropped.work.final()
    done = []
    while not batch.idle:
        done += batch.step()
    assert done == [kept]
    assert dropped.work.final() == before


def test_the_queue_is_bounded() -> None:
    batch = Batch(CAUSAL, size=1, queue=2)
    first = batch.submit(denoiser(CAUSAL, 0))
    batch.submit(denoiser(CAUSAL, 1))
    with pytest.raises(QueueFullError, match="2 requests"):
        batch.submit(denoiser(CAUSAL, 2))
    first.cancel()
    batch.submit(denoiser(CAUSAL, 2))


def test_rows_bound_a_step_and_the_driver_rides_first() -> None:
    batch = Batch(CAUSAL, rows=6)  # canvases of 3
    soon, later, driver = (
        batch.submit(denoiser(CAUSAL, i), due=due) for i, due in enumerate((1.0, 2.0, 3.0))
    )
    batch.step(driver)
    assert [len(t.work.final()) > 0 for t in (soon, later, driver)] == [True, False, True]
    batch.step()
    assert len(later.work.final()) > 0
    while not batch.idle:
        batch.step()
    found = [t.work.final() for t in (soon, later, driver)]
    assert found == [alone(CAUSAL, i) for i in range(3)]


def test_a_driver_does_not_wait_for_a_place() -> None:
    batch = Batch(CAUSAL, size=1)
    batch.submit(denoiser(CAUSAL, 0))
    driver = batch.submit(denoiser(CAUSAL, 1))
    batch.step()
    assert driver.work.final() == []
    batch.step(driver)
    assert len(driver.work.final()) > 0
