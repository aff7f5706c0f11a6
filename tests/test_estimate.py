from __future__ import annotations

import numpy as np
import pytest

from agent.latency.compare import compare
from agent.latency.estimate import estimates, resampled
from agent.latency.results import TurnResult


def rows(values):
    return [TurnResult(turn, "q.wav", "", "", float(value)) for turn, value in enumerate(values, 1)]


def test_percentiles_are_values_that_occurred():
    found = estimates(range(1, 101))
    assert [estimate.value for estimate in found.values()] == [50, 90, 95, 99, 100]
    assert {estimate.value for estimate in estimates([7.0]).values()} == {7.0}


@pytest.mark.slow
def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(100):
        sample = np.random.default_rng(seed).lognormal(6, 0.4, 100)
        found = estimates(sample, seed)["p50"]
        held += found.low <= np.exp(6) <= found.high
    assert 90 <= held <= 99


def test_the_bootstrap_draws_neighbours_together():
    draws = resampled(np.arange(1000.0), 0, 50)
    assert draws.shape == (50, 1000)
    steps = np.diff(draws, axis=1)
    assert (steps == 1).mean() == pytest.approx(0.9, abs=0.01)  # blocks of ten


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lognormal", "normal", "quantised"])
def test_two_equal_servers_are_no_different(kind):
    """In at least 95 of 100 runs no figure at all is said to differ."""

    def sample(draw):
        match kind:
            case "lognormal":
                return draw.lognormal(6, 0.4, 100)
            case "normal":
                return draw.normal(500, 30, 100)
            case "quantised":
                return 500 + 20.0 * draw.integers(0, 6, 100)

    agreed = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        ratios = compare(rows(sample(draw)), rows(sample(draw)), seed)
        assert [ratio.percentile for ratio in ratios if ratio.figure == "total"] == ["p50", "p95"]
        agreed += all(ratio.verdict == "no difference" for ratio in ratios)
    assert agreed >= 95


def test_a_slower_server_is_found_slower():
    draw = np.random.default_rng(0)
    first, second = rows(draw.normal(500, 30, 100)), rows(draw.normal(600, 30, 100))
    ratio = compare(first, second)[0]
    assert ratio.verdict == "slower"
    assert ratio.low < 1.2 < ratio.high
    assert compare(second, first)[0].verdict == "faster"


def test_few_turns_are_not_judged():
    median, p95, *_ = compare(rows([100] * 9), rows([200] * 9))
    assert median.verdict == p95.verdict == "too few turns"
    median, p95, *_ = compare(rows([100] * 20), rows([200] * 20))
    assert (median.verdict, p95.verdict) == ("slower", "too few turns")


def test_a_time_of_zero_has_a_ratio():
    median, *_ = compare(rows([0.0] * 20), rows([0.2] * 20))
    assert (median.ratio, median.verdict) == (1.0, "no difference")
