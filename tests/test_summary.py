from __future__ import annotations

import pytest

from agent.errors import ConfigError
from agent.latency.budget import RunBudget
from agent.latency.results import TurnResult
from agent.latency.summary import summarise
from agent.latency.word_errors import word_error_rate


def row(turn, ms, **more):
    return TurnResult(turn, "q.wav", more.pop("heard", ""), "", ms, **more)


ROWS = [
    row(
        turn,
        100.0 * turn,
        spans={"asr": 10.0 * turn, "transport": 90.0 * turn},
        leading_silence_ms=5.0,
        check=turn > 2,
        expected="What is two plus two?",
        heard="what is 2 plus 2",
    )
    for turn in range(1, 11)
]


def test_the_total_counts_from_when_the_turn_was_due():
    late = [row(turn, 200.0, late_ms=50.0 * turn) for turn in range(5)]
    figures = summarise(late).figures
    assert figures["total"]["max"].value == 400
    assert figures["voice_to_voice"]["max"].value == 200


def test_warm_up_counts_for_nothing():
    summary = summarise([row(1, 9000.0, warmup=True, error="late"), *ROWS])
    assert summary.turns == 10
    assert summary.failed == 0
    assert summary.figures["total"]["max"].value == 1000


def test_a_turn_whose_line_was_lost_is_an_error_and_no_latency():
    summary = summarise([*ROWS, row(11, None, error="lost"), row(12, None, error="lost")])
    assert summary.errors == {"lost": 2}
    assert (summary.turns, summary.failed, summary.unanswered) == (12, 2, 0)
    assert summary.samples["total"] == 10


def test_the_row_of_a_summary():
    told = summarise(ROWS).to_row(0.25)
    assert {key: told[key] for key in ("p50", "p95", "p99", "turns", "errors", "wer")} == {
        "p50": 500,
        "p95": 1000,
        "p99": 1000,
        "turns": 10,
        "errors": 0,
        "wer": 0.25,
    }
    assert told["figures"]["asr"]["p50"]["value"] == 50
    assert told["figures"]["asr"]["n"] == 10
    assert (told["checked"], told["passed"]) == (10, 8)


def test_nothing_but_errors_has_no_percentiles():
    told = summarise([row(1, None, error="lost")]).to_row(None)
    assert (told["turns"], told["errors"], told["figures"]) == (1, 1, {})
    assert told["p50"] is told["p95"] is told["p99"] is None


def test_the_gap_of_a_reply_is_its_longest():
    rows = [row(1, 100.0, gaps_ms=[12.0, 80.0]), row(2, 100.0)]
    assert summarise(rows).figures["longest_gap"]["max"].value == 80
    assert summarise(rows).samples["longest_gap"] == 2


def test_words_are_compared_in_normal_form():
    assert word_error_rate(summarise(ROWS).words) == 0
    assert word_error_rate([("Who wrote it?", "who rode it")]) == 1 / 3
    assert word_error_rate([]) is None


def test_words_that_no_agent_told_are_no_errors():
    assert summarise([row(1, 100.0, expected="hello")]).words == ()
    mixed = [row(1, 100.0, expected="hello", heard="hello"), row(2, 100.0, expected="hello")]
    assert len(summarise(mixed).words) == 2


@pytest.mark.parametrize(
    ("limits", "missed"),
    [
        ("total=1000,asr=100", []),
        ("total=999", ["total.p95: 1000 is more than 999"]),
        ("total.p50=400,asr.max=50", ["total.p50: 500", "asr.max: 100"]),
        ("wer=0.1,errors=0,wrong=0.1", ["wer: 0.25", "wrong: 0.2"]),
        ("interrupt=300", ["interrupt.p95: the limit is 300, and the run has no such"]),
    ],
)
def test_a_budget_names_what_overran(limits, missed):
    found = RunBudget.parse(limits).overruns(summarise(ROWS), 0.25)
    assert len(found) == len(missed)
    assert all(str(overrun).startswith(start) for overrun, start in zip(found, missed, strict=True))


@pytest.mark.parametrize("text", ["", "total", "total=x", "total.p42=3", "total=-1", "=4", "a=nan"])
def test_what_is_no_budget(text):
    with pytest.raises(ConfigError, match="--budget"):
        RunBudget.parse(text)
