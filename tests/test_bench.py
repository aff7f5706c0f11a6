"""The engine's measurements: every row has its figures, and agreement is what it says."""

from __future__ import annotations

import pytest
from support.smollm import smollm_path
from support.tiny import tiny_config, tiny_engine

from dllm_core import Engine, OptionError
from dllm_core.bench.batch import SEQUENCES, batch
from dllm_core.bench.main import agree, cache, measure, reply
from dllm_core.bench.prompts import QUESTIONS
from dllm_core.bench.reference import TransformersSteps
from dllm_core.bench.step import POSITIONS, faster, step
from dllm_core.bench.timing import Time, in_turn
from dllm_core.decode import calibrate
from dllm_core.model.cache import KeyValues

LONG = {"context_length": 320, "eos_ids": (0,)}
CAUSAL = tiny_engine(tiny_config(**LONG))
OTHER = tiny_engine(tiny_config(**LONG), seed=5)
NEVER_ENDS = tiny_engine(tiny_config(context_length=320, eos_ids=()))
BLOCKS = tiny_engine(tiny_config(block_length=32, mask_id=60, **LONG))
BIDIRECTIONAL = tiny_engine(tiny_config(attention="bidirectional", shift=False, mask_id=60, **LONG))


def test_there_are_a_hundred_different_questions() -> None:
    assert len(QUESTIONS) == len(set(QUESTIONS)) == 100


@pytest.mark.slow
@pytest.mark.parametrize("engine", [CAUSAL, BLOCKS, BIDIRECTIONAL])
def test_step_times_every_canvas_length_and_the_overhead(engine) -> None:
    rows = list(step({"float32": engine}, cached=20))
    assert [row["positions"] for row in rows if row["what"] == "step"] == list(POSITIONS)
    assert [row["what"] for row in rows[-3:]] == ["prefill", "overhead", "decide"]
    assert not any("times_faster" in row for row in rows)
    assert all(row["ms"] > 0 for row in rows)
    assert all(row["cached"] in (14, 20) for row in rows[:-1])


def test_a_measured_step_makes_no_new_memory(monkeypatch) -> None:
    made = []

    def counted(*arguments):
        made.append(KeyValues(*arguments))
        return made[-1]

    monkeypatch.setattr(calibrate, "KeyValues", counted)
    action = calibrate.step_over(CAUSAL.model, 4, 24, CAUSAL.context)
    assert action() == action()
    assert len(made) == 1
    assert made[0].capacity >= 24


@pytest.mark.slow
def test_reply_counts_tokens_and_forwards() -> None:
    rows = list(reply(CAUSAL, (1, 3)))
    assert [row["canvas"] for row in rows] == [1, 3]
    assert rows[0]["tokens_per_forward"] == 1.0
    assert rows[0]["tokens"] == rows[1]["tokens"] > 0


@pytest.mark.slow
def test_the_exact_cache_agrees_exactly_on_a_model_never_taught_to_denoise() -> None:
    (row,) = cache(CAUSAL)
    assert row["policy"] == "exact"
    assert row["equal_tokens"] == row["equal_replies"] == 1.0


@pytest.mark.slow
def test_the_approximations_of_a_bidirectional_model_are_measured() -> None:
    rows = list(cache(BIDIRECTIONAL))
    assert [row["policy"] for row in rows] == ["prompt_frozen", "prefix", "dual"]
    assert all(0 <= row["equal_replies"] <= row["equal_tokens"] <= 1 for row in rows)
    assert any(row["equal_tokens"] < 1 for row in rows)


@pytest.mark.slow
def test_an_engine_agrees_with_itself_and_not_with_another() -> None:
    lines: list[str] = []
    same, other = agree({"same": CAUSAL, "other": OTHER}, CAUSAL, lines.append, count=4)
    assert same["equal_tokens"] == same["equal_replies"] == 1.0
    assert other["equal_replies"] == 0.0
    assert same["replies"] == other["replies"] == 4
    assert lines[3] == "question 4 of 4, equal replies so far: same 3, other 0"


@pytest.mark.parametrize(("seconds", "replies"), [(0.5, 1), (2.5, 3), (99.0, 4)])
def test_agreement_is_compared_for_a_time(seconds: float, replies: int) -> None:
    ticks = iter(range(100))
    clock = lambda: float(next(ticks))  # noqa: E731
    (row,) = agree(
        {"same": CAUSAL}, CAUSAL, lambda line: None, count=4, seconds=seconds, clock=clock
    )
    assert (row["replies"], row["of"], row["equal_replies"]) == (replies, 4, 1.0)


def test_a_batch_takes_the_passes_of_its_longest_reply() -> None:
    rows = list(batch(NEVER_ENDS, tokens=6))
    assert [row["sequences"] for row in rows] == list(SEQUENCES)
    assert [row["forwards"] for row in rows] == [6] * len(SEQUENCES)
    assert all(row["cpu_ms_per_reply"] >= 0 < row["ms_per_reply"] for row in rows)


def test_float32_is_not_compared_with_itself() -> None:
    with pytest.raises(OptionError, match="give another dtype"):
        next(measure("agree", "model.gguf", ["float32"]))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.long
def test_transformers_runs_the_same_positions_from_the_same_file_in_turn() -> None:
    path = smollm_path()
    engine = Engine.load(path, dtype="int4")
    rows = list(step({"int4": engine}, TransformersSteps(path, cached=8), cached=8))
    pairs = [row for row in rows if row["what"] in ("step", "transformers")]
    assert [row["what"] for row in pairs] == ["step", "transformers"] * len(POSITIONS)
    for ours, theirs in zip(pairs[::2], pairs[1::2], strict=True):
        assert ours["positions"] == theirs["positions"]
        assert ours["times_faster"] > 0 < theirs["ms"]
        assert "times_faster" not in theirs


def test_actions_are_timed_in_turn() -> None:
    order: list[str] = []
    times = in_turn([lambda: order.append("a"), lambda: order.append("b")], repeats=3)
    assert order == ["a", "b"] * 4
    assert [len(own) for own in times] == [3, 3]


def test_how_much_faster_is_judged_within_each_round() -> None:
    ours = [Time(10, 0), Time(20, 0), Time(30, 0)]
    theirs = [Time(40, 0), Time(60, 0), Time(300, 0)]
    assert faster(theirs, ours) == 4.0
