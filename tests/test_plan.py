from __future__ import annotations

import itertools
from collections import Counter

import pytest

from agent.errors import ConfigError
from agent.latency.plan import LoadPlan, seconds


def turns(plan, questions=3):
    return [turn for caller in range(plan.callers) for turn in plan.turns_of(caller, questions)]


def test_turns_are_due_at_even_distances_over_all_lines():
    measured = turns(LoadPlan(turns=6, callers=2, rate=30, warmup=0))
    assert sorted(turn.due for turn in measured) == [0, 2, 4, 6, 8, 10]
    assert {turn.number: turn.due for turn in measured} == {
        number: 2.0 * (number - 1) for number in range(1, 7)
    }


def test_a_warm_up_delays_what_is_measured():
    plan = LoadPlan(turns=4, callers=2, rate=60, warmup=2)
    assert sorted(turn.due for turn in turns(plan) if turn.warmup) == [0, 1, 2, 3]
    assert sorted(turn.due for turn in turns(plan) if not turn.warmup) == [4, 5, 6, 7]


def test_without_a_rate_nothing_is_due():
    assert {turn.due for turn in turns(LoadPlan(turns=5))} == {None}


def test_every_question_is_asked_once_in_a_round_in_an_order_of_the_seed():
    def asked(seed):
        return [turn.question for turn in turns(LoadPlan(turns=20, warmup=0, seed=seed), 5)]

    assert all(sorted(asked(1)[start : start + 5]) == [0, 1, 2, 3, 4] for start in (0, 5, 10, 15))
    assert asked(1) == asked(1) != asked(2)
    assert len(set(Counter(asked(1)).values())) == 1


def test_with_a_duration_only_the_turns_have_no_end():
    endless = LoadPlan(turns=None, duration=10.0).turns_of(0, 3)
    assert len(list(itertools.islice(endless, 1000))) == 1000


@pytest.mark.parametrize(
    ("text", "expected"), [("24h", 86400), ("1h30m", 5400), ("90s", 90), ("2.5m", 150), ("7", 7)]
)
def test_a_duration_in_words(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "soon", "5 days", "-3s", "1d"])
def test_what_is_no_duration(text):
    with pytest.raises(ConfigError, match="24h"):
        seconds(text)


@pytest.mark.parametrize(
    "wrong", [{"turns": None}, {"rate": 0.0}, {"rate": -1.0}, {"turns": 2, "callers": 3}]
)
def test_a_plan_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError):
        LoadPlan(**wrong)
