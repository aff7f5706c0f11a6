"""A reply with a deadline is late by one step at most, whatever its rule, canvases and beliefs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sharded import SMALL, write_random
from support.tiny import tiny_config, tiny_engine

from dllm_core import DecodeOptions, Engine
from dllm_core.bench.deadline import deadline
from dllm_core.config import Rule
from dllm_core.decode.denoise import run
from dllm_core.decode.reply_state import ReplyState
from dllm_core.decode.schedule import CostModel

PROMPT = [5, 9, 2, 44, 17]
FREE = {"mask_id": 60, "eos_ids": ()}
BIDIRECTIONAL = tiny_engine(tiny_config(attention="bidirectional", shift=False, **FREE))
BLOCKS = tiny_engine(tiny_config(block_length=4, shift=False, **FREE))
ADAPTED = tiny_engine(tiny_config(**FREE))
NEVER_TAUGHT = tiny_engine(tiny_config(eos_ids=()))


TAUGHT = {"attention": "bidirectional", "mask_id": SMALL["mask_token_id"]}
"""What the files of a model that was taught to denoise may leave out."""


class Machine:
    """A clock, and a cost of every step on it."""

    def __init__(self, step_ms: list[float], belief: float) -> None:
        self.now, self.taken, self.last_ms = 0.0, 0, 0.0
        self._step_ms, self.cost = step_ms, CostModel(step_ms[0] * belief)

    def reply(self, engine: Engine, options: DecodeOptions) -> ReplyState:
        cache = engine.new_cache()
        prefill = engine.read(PROMPT, cache, options)
        answer = ReplyState(
            engine.config, engine.tokenizer, PROMPT, cache, options, prefill, self.cost,
            clock=lambda: self.now,
        )  # fmt: skip
        while not answer.done:
            forward = answer.plan()
            self.last_ms = self._step_ms[self.taken % len(self._step_ms)]
            self.now += self.last_ms / 1e3
            self.taken += 1
            answer.absorb(run(engine.model, forward))
        return answer


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(
    engine=st.sampled_from([BIDIRECTIONAL, BLOCKS, ADAPTED]),
    rule=st.sampled_from([rule for rule in get_args(Rule) if rule not in ("fixed_point", "draft")]),
    budget=st.floats(0.1, 400.0),
    step_ms=st.lists(st.floats(1.0, 60.0), min_size=1, max_size=4),
    belief=st.floats(0.2, 5.0),
    canvas=st.sampled_from([4, 8, 16]),
    first=st.sampled_from([None, 3]),
    confidence=st.sampled_from(["probability", "entropy"]),
    timesteps=st.booleans(),
)
def test_no_reply_is_late_by_more_than_one_step(
    engine, rule, budget, step_ms, belief, canvas, first, confidence, timesteps
) -> None:
    options = DecodeOptions(
        rule=rule, canvas_length=canvas, first_canvas=first, max_tokens=24, deadline_ms=budget,
        threshold=0.99, confidence=confidence, timesteps=timesteps, eos_last=False,
    )  # fmt: skip
    machine = Machine(step_ms, belief)
    answer = machine.reply(engine, options)
    assert machine.now * 1e3 - budget <= machine.last_ms * (1 + 1e-9)
    assert answer.steps[-1].stats is not None
    assert not any(answer.steps[-1].canvas.masked)
    most = 24 + (engine.config.block_length or 1)  # the last block is denoised to its edge
    assert machine.taken <= (2 * most if rule == "remask" else most)


@pytest.mark.parametrize("rule", ["fixed_point", "sequential"])
def test_a_model_never_taught_to_denoise_is_cut_at_the_deadline(rule: Rule) -> None:
    options = DecodeOptions(rule=rule, canvas_length=1, max_tokens=40)
    whole = Machine([10.0], 1.0).reply(NEVER_TAUGHT, options)
    assert whole.steps[-1].step == 40
    machine = Machine([10.0], 1.0)
    cut = machine.reply(NEVER_TAUGHT, replace(options, deadline_ms=105.0))
    assert machine.now <= 0.105
    assert cut.final() == whole.final()[: len(cut.final())]
    assert 8 <= len(cut.final()) <= 10
    assert cut.steps[-1].stats is not None
    assert cut.steps[-1].stats.ended == "length"


def test_every_canvas_has_its_share_of_the_time() -> None:
    options = DecodeOptions(
        rule="quota", canvas_length=16, max_tokens=32, deadline_ms=200.0, eos_last=False
    )
    machine = Machine([10.0], 1.0)
    steps = machine.reply(BIDIRECTIONAL, options).steps
    lengths = [len(step.canvas.ids) for step in steps]
    assert lengths.count(16) == pytest.approx(lengths.count(32), abs=2)
    assert machine.now <= 0.2
    assert machine.taken >= 17


def test_more_time_means_more_steps_and_one_step_if_there_is_none() -> None:
    options = DecodeOptions(rule="quota", canvas_length=24, max_tokens=24, eos_last=False)
    taken = []
    for budget in (1.0, 50.0, 100.0, 1000.0):
        machine = Machine([10.0], 1.0)
        machine.reply(BIDIRECTIONAL, replace(options, deadline_ms=budget))
        taken.append(machine.taken)
    assert taken[0] == 1
    assert taken == sorted(taken)
    assert taken[3] == 24


def test_guidance_counts_both_of_its_sequences() -> None:
    seen: list[int] = []

    class Recording(CostModel):
        def at_most(self, rows: int, visible: int) -> float:
            seen.append(rows)
            return super().at_most(rows, visible)

    machine = Machine([10.0], 1.0)
    machine.cost = Recording(10.0)
    options = DecodeOptions(
        rule="quota", canvas_length=8, max_tokens=8, guidance=1.0, deadline_ms=50.0
    )
    machine.reply(BIDIRECTIONAL, options)
    assert set(seen) == {2 * (len(PROMPT) + 8)}


@pytest.mark.slow
@pytest.mark.alone
def test_on_the_real_clock(tmp_path: Path) -> None:
    """The bench's rows, of SmolLM2's shape with random weights and a mask token."""
    engine = Engine.load(write_random(tmp_path, SMALL), dtype="int8", threads=1, config=TAUGHT)
    engine.warm_up()
    rows = list(deadline(engine, replies=3))
    assert [(row["deadline_ms"], row["busy"]) for row in rows] == [
        (limit, busy) for busy in (False, True) for limit in (100.0, 200.0, 400.0)
    ]
    for row in rows:
        assert row["worst_late_steps"] <= 1.0, row
        assert 1 <= row["steps"] <= 32
    # What is kept in time depends on what else this machine does; a second holds many steps.
    patient = DecodeOptions(rule="quota", canvas_length=32, max_tokens=32, deadline_ms=5000.0)
    stats = engine.reply([300] * 50, options=patient).stats
    assert stats.forwards > 1
    assert stats.ms <= 5000.0
