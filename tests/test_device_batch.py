"""Who joins the rounds on the device, in which order, and who leaves."""

import pytest
import torch
from support.tiny import tiny_config, tiny_model

from dllm_core import DecodeOptions, PromptTooLongError, QueueFullError
from dllm_core.decode.schedule import CostModel
from dllm_core.gpu.device_batch import CanvasTicket, DeviceBatch
from dllm_core.gpu.device_job import CanvasJob
from dllm_core.gpu.graphs import Graphs
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.model.paged_cache import PagedCache, PagePool

CONFIG = tiny_config(mask_id=60, attention="bidirectional", shift=False, eos_ids=())
MODEL = PagedModel(tiny_model(CONFIG), PagePool(CONFIG, 40, torch.float32, torch.device("cpu")))
OPTIONS = DecodeOptions(rule="threshold", threshold=0.99, cache="prompt_frozen")
PROMPTS = [[5, 9, 2], [44, 17, 3, 8], [11], [50, 50, 2], [1, 2, 3, 4, 5, 6]]


def make_batch(**limits: object) -> DeviceBatch:
    return DeviceBatch(MODEL, Graphs(None, 0), CostModel(), **limits)  # type: ignore[arg-type]


def job(i: int, length: int = 20, options: DecodeOptions = OPTIONS) -> CanvasJob:
    return CanvasJob(MODEL, PagedCache(MODEL.pool, 128), PROMPTS[i], length, options)


def finish(batch: DeviceBatch) -> list[CanvasTicket]:
    done = []
    while not batch.idle:
        done += batch.step()
    return done


@pytest.mark.slow
def test_calls_join_between_rounds_and_none_changes_another() -> None:
    alone = []
    for i in range(5):
        single = make_batch()
        ticket = single.submit(job(i))
        finish(single)
        alone.append(ticket.work.job.final())
    batch = make_batch(size=3)
    tickets = [batch.submit(job(i)) for i in range(3)]
    batch.step()
    assert not any(ticket.work.job.done for ticket in tickets)
    tickets += [batch.submit(job(i)) for i in range(3, 5)]
    finish(batch)
    assert [ticket.work.job.final() for ticket in tickets] == alone


@pytest.mark.slow
def test_the_earliest_due_is_served_first_and_patience_is_finite() -> None:
    batch = make_batch(size=1, patience=5.0, clock=lambda: 0.0)
    patient = batch.submit(job(0))
    late, urgent = batch.submit(job(1), due=9.0), batch.submit(job(2), due=1.0)
    hurried = batch.submit(job(3), deadline=2.0)
    assert finish(batch) == [urgent, hurried, patient, late]


def test_a_cancelled_call_leaves_at_the_border_of_a_round() -> None:
    batch = make_batch(size=2)
    kept, dropped, waiting = (batch.submit(job(i)) for i in range(3))
    batch.step()
    dropped.cancel()
    waiting.cancel()
    before = dropped.work.job.view()
    assert finish(batch) == [kept]
    assert dropped.work.job.view() == before
    assert waiting.work.views == []


def test_the_queue_is_bounded() -> None:
    batch = make_batch(size=1, queue=2)
    first = batch.submit(job(0))
    batch.submit(job(1))
    with pytest.raises(QueueFullError, match="2 requests"):
        batch.submit(job(2))
    first.cancel()
    batch.submit(job(2))


def test_one_call_that_does_not_fit_stops_no_other() -> None:
    batch = make_batch()
    good, bad = batch.submit(job(0)), batch.submit(job(1, length=128))
    assert set(map(id, finish(batch))) == {id(good), id(bad)}
    assert isinstance(bad.error, PromptTooLongError)
    assert good.work.job.done
    assert good.error is None


def test_calls_of_different_rules_and_canvases_run_in_rounds_of_their_own() -> None:
    quota = DecodeOptions(rule="quota", steps=3, cache="prompt_frozen")
    batch = make_batch()
    tickets = [batch.submit(job(0)), batch.submit(job(1, 20, quota)), batch.submit(job(2, 9))]
    finish(batch)
    assert all(ticket.work.job.done for ticket in tickets)
    assert len(tickets[1].work.views) == 3
