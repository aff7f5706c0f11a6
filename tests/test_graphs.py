"""When rounds are captured, which one is replayed, and what is said where none can be."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from support.tiny import tiny_config, tiny_model, tiny_tokenizer

from dllm_core import DecodeOptions
from dllm_core.decode.schedule import CostModel
from dllm_core.engine import Engine
from dllm_core.gpu.device import Device
from dllm_core.gpu.device_round import DeviceRound, RoundOptions, RoundShape
from dllm_core.gpu.graphs import Graphs
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.model.paged_cache import PagePool

MODEL = tiny_model(tiny_config(mask_id=60, context_length=256))
PAGED = PagedModel(MODEL, PagePool(MODEL.config, 30, torch.float32, torch.device("cpu")))
OPTIONS = DecodeOptions(rule="quota", steps=6, canvas_length=8, max_tokens=20)


class FakeRecorder:
    """Runs work when it is recorded, as a warm-up does, and again when it is replayed."""

    def __init__(self, free: int = 1000, fails_at: int | None = None) -> None:
        self.free, self.fails_at = free, fails_at
        self.recorded = self.replayed = 0

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        if self.recorded == self.fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")
        self.recorded += 1
        self.free -= 100
        work()

        def replay() -> None:
            self.replayed += 1
            work()

        return replay

    def free_bytes(self) -> int:
        return self.free


def make_round(
    batch: int, canvas: int, pages: int, steps: int, options: RoundOptions | None = None
) -> DeviceRound:
    return DeviceRound(PAGED, RoundShape(batch, canvas, pages, steps), options or RoundOptions())


@pytest.fixture
def graphs() -> Graphs:
    found = Graphs(FakeRecorder(), keep_free=0)
    for shape in [(1, 8, 2, 4), (1, 8, 2, 8), (4, 8, 2, 4), (4, 8, 4, 4)]:
        assert found.capture(make_round(*shape))
    return found


@torch.inference_mode()
@pytest.mark.parametrize(
    ("needed", "enough", "expected"),
    [
        ((1, 8, 1, 3), True, (1, 8, 2, 4)),
        ((1, 5, 2, 4), True, (1, 8, 2, 4)),
        ((1, 8, 2, 5), True, (1, 8, 2, 8)),
        ((1, 8, 2, 99), True, (1, 8, 2, 8)),
        ((1, 8, 2, 99), False, (1, 8, 2, 4)),
        ((2, 8, 2, 4), True, (4, 8, 2, 4)),
        ((1, 8, 3, 4), True, (4, 8, 4, 4)),
        ((5, 8, 1, 4), True, None),
        ((1, 9, 1, 4), True, None),
        ((1, 8, 5, 4), True, None),
    ],
)
def test_the_smallest_round_with_room_is_found(
    graphs: Graphs,
    needed: tuple[int, int, int, int],
    enough: bool,
    expected: tuple[int, int, int, int] | None,
) -> None:
    found = graphs.find(RoundShape(*needed), RoundOptions(), enough=enough)
    assert (found and found.round.shape) == (expected and RoundShape(*expected))
    assert graphs.find(RoundShape(*needed), RoundOptions(eos_last=False), enough=enough) is None


def test_a_report_names_every_graph_and_its_memory(graphs: Graphs) -> None:
    *lines, total = graphs.report()
    assert len(lines) == 4
    assert lines[0].startswith("batch 1, canvas 8, 2 pages, 4 steps: 0.0 MiB")
    assert total == "4 graphs, 0.0 MiB"
    assert [graph.bytes for graph in graphs.captured] == [100] * 4


@pytest.mark.parametrize(
    ("recorder", "keep_free", "why"),
    [
        (FakeRecorder(fails_at=1), 0, "CUDA out of memory."),
        (FakeRecorder(free=1000), 950, "0.0 GiB of memory are free"),
    ],
)
def test_what_cannot_be_captured_is_said_once_and_not_tried_again(
    recorder: FakeRecorder, keep_free: int, why: str
) -> None:
    graphs = Graphs(recorder, keep_free)
    assert graphs.capture(make_round(1, 8, 1, 4))
    failing = make_round(2, 8, 1, 4)
    assert not graphs.capture(failing)
    assert not graphs.capture(make_round(1, 4, 1, 4))
    assert recorder.recorded == 1
    assert graphs.reason is not None
    assert why in graphs.reason
    assert graphs.report()[-1] == graphs.reason
    assert graphs.runner(failing) == failing.run


@pytest.mark.slow
def test_replies_replay_what_was_captured_and_run_the_rest() -> None:
    recorder = FakeRecorder()
    plain, engine = Engine(MODEL, tiny_tokenizer(), 256), Engine(MODEL, tiny_tokenizer(), 256)
    engine.use_device(Device(MODEL, 256, 40, recorder=recorder))
    assert engine.gpu is not None
    engine.gpu.graphs._keep_free = 0
    engine.gpu.warm_up(OPTIONS, batches=(1,), contexts=(64,))
    assert [graph.round.shape.steps for graph in engine.gpu.graphs.captured] == [3, 6, 3, 6]
    before = recorder.replayed
    for prompt in ([5, 9, 2], [7] * 100):
        expected = plain.reply(prompt, options=OPTIONS)
        reply = engine.reply(prompt, options=OPTIONS)
        assert reply.ids == expected.ids
    replayed = recorder.replayed - before
    assert replayed >= 2
    changed = DecodeOptions(rule="threshold", canvas_length=8, max_tokens=20)
    assert engine.reply([5, 9], options=changed).ids == plain.reply([5, 9], options=changed).ids
    assert recorder.replayed - before == replayed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step_ms", "steps"), [(1.0, 6), (1e6 / 4, 3), (1e6 / 2, 2), (1e6, 1), (1e9, 1)]
)
def test_a_deadline_takes_the_most_captured_steps_that_fit(step_ms: float, steps: int) -> None:
    model = tiny_model(tiny_config(mask_id=60, context_length=256, eos_ids=()))
    engine = Engine(model, tiny_tokenizer(), 256)
    engine.use_device(Device(model, 256, 40, recorder=FakeRecorder()))
    assert engine.gpu is not None
    engine.gpu.graphs._keep_free = 0
    options = replace(OPTIONS, max_tokens=8)
    engine.gpu.warm_up(options, batches=(1,), contexts=(64,))
    engine.gpu.batch.cost = CostModel(fixed=step_ms * 0.999)
    hurried = replace(options, deadline_ms=1e6)
    assert engine.reply([5, 9, 2], options=hurried).stats.forwards == steps
