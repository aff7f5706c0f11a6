"""The bench of decisions: its service, its routing examples and its summary."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from test_engine_tools import chatting

from agent.bench.decisions import summarise
from agent.bench.decisions_server import decision_server
from agent.bench.routing import FILE, OUT, TASKS
from dllm_core.tasks.decide import Decider
from dllm_core.tasks.questions import Choice, YesNo

QUESTIONS = (
    YesNo(name="human", text="Wants a human"),
    Choice(name="intent", text="Intent", options=("a", "b")),
)


@pytest.mark.slow
def test_the_service_gives_the_answers_of_the_model() -> None:
    engine = chatting()
    ids = engine.encode_chat([("system", "be short"), ("user", "hello")])
    decider = Decider(engine, QUESTIONS, contextual=False)
    own = decider.decide(ids, engine.contiguous_cache(), "hello")
    with decision_server(engine, QUESTIONS) as client:
        given = client.decide("be short", "hello")
    assert [each["value"] for each in given] == [answer.value for answer in own]
    expected = [answer.probability for answer in own]
    assert [each["probability"] for each in given] == pytest.approx(expected, abs=1e-5)


def test_the_routing_examples_are_apart() -> None:
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    counts = Counter((row["answer"], row["part"]) for row in rows)
    assert {answer for answer, _ in counts} == {*TASKS, OUT}
    assert {(part, n) for (_, part), n in counts.items()} == {("fit", 20), ("measure", 10)}
    assert len({row["text"] for row in rows}) == len(rows)


def test_the_summary_has_medians_and_the_routing_of_the_head() -> None:
    names = [f"{way}_{unit}" for way in ("ten", "apart", "hosted") for unit in ("ms", "cpu_ms")]
    rows = [dict.fromkeys(names, value) for value in (1.0, 2.0, 9.0)]
    routed = [
        {"by": "head", "accuracy": 0.9, "calibration_error": 0.02},
        {"by": "choice", "accuracy": 0.3, "calibration_error": 0.4},
        {"by": "router", "accuracy": 0.8, "calibration_error": 0.1},
    ]
    found = summarise(rows, [True, True, False, True], 1, routed)
    assert (found["ten_ms"], found["hosted_cpu_ms"], found["valid"]) == (2.0, 2.0, 0.75)
    assert (found["routing_accuracy"], found["zero_shot_accuracy"]) == (0.9, 0.8)
    assert "routing_accuracy" not in summarise(rows, [True], 1)
