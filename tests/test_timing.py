import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.timing import SPAN_NAMES, LatencyBudget, Stage, StageTimings


@given(st.sets(st.sampled_from(list(Stage)), min_size=1), st.data())
def test_spans_sum_to_the_total_whatever_is_marked(stages, data):
    timings = StageTimings()
    now = 0
    for stage in sorted(stages):
        now += data.draw(st.integers(0, 10_000))
        timings.mark(stage, float(now))
    spans = timings.spans()
    assert set(spans) == set(SPAN_NAMES.values())
    assert sum(spans.values()) == timings.total
    assert all(span >= 0 for span in spans.values())


def test_only_the_first_mark_counts():
    timings = StageTimings()
    timings.mark(Stage.PROMPT, 1.0)
    timings.mark(Stage.PROMPT, 2.0)
    assert timings.marks == {Stage.PROMPT: 1.0}


def test_marks_out_of_order_are_refused():
    timings = StageTimings()
    timings.mark(Stage.TRANSCRIPT, 2.0)
    with pytest.raises(ValueError, match=r"FIRST_SOUND at 1\.0 against TRANSCRIPT"):
        timings.mark(Stage.FIRST_SOUND, 1.0)
    with pytest.raises(ValueError, match="TURN_END"):
        timings.mark(Stage.TURN_END, 3.0)


def test_a_budget_names_what_overran_and_by_how_much():
    budget = LatencyBudget(1.0, {"asr": 0.25})
    assert budget.overruns({"asr": 0.5, "tts": 0.25}) == {"asr": 0.25}
    assert budget.overruns({"asr": 0.25, "tts": 1.0}) == {"total": 0.25}
    assert budget.overruns({}) == {}


def test_a_budget_knows_its_spans():
    with pytest.raises(ValueError, match="no such span: llm; there are endpoint_wait"):
        LatencyBudget(1.0, {"llm": 0.2})
    with pytest.raises(ValueError, match="more than zero"):
        LatencyBudget(0.0)
