"""The search for the capacity of a server, its rows, and one small real run."""

from __future__ import annotations

import json
import os
import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_agent import FakeConnection, Manner, question
from support.fakes import in_virtual_time
from typer.testing import CliRunner

from agent.bench import capacity as module
from agent.bench.capacity import Callers, Search, Trial, find_capacity, most_that_pass
from agent.bench.server_process import proportional
from agent.cli.main import app
from agent.errors import ConfigError
from agent.latency.results import TurnResult


def turn(ms, error=None, late=0.0):
    return TurnResult(1, "q.wav", "", "", ms, error=error, frame_late_ms=late)


# ---- the search ----------------------------------------------------------------------------


@given(st.integers(0, 300), st.integers(1, 200))
def test_the_search_finds_the_largest_number_that_passes(truth, most):
    tried = []

    def passes(number):
        tried.append(number)
        return number <= truth

    assert most_that_pass(passes, most) == min(truth, most)
    assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1
    assert all(1 <= number <= most for number in tried)


def test_numbers_are_doubled_then_halved():
    tried = []
    assert most_that_pass(lambda number: tried.append(number) or number <= 5, 16) == 5
    assert tried == [1, 2, 4, 8, 6, 5]


# ---- a trial -------------------------------------------------------------------------------


def test_a_trial_is_judged_by_its_95th_percentile():
    turns = [turn(500.0)] * 95 + [turn(5000.0)] * 5
    assert Trial(4, turns).met(1000)
    assert not Trial(4, [*turns, turn(5000.0)]).met(1000)


def test_a_turn_without_an_answer_is_an_error_however_fast_the_others_are():
    trial = Trial(2, [*[turn(300.0)] * 99, turn(None, "no reply within 10 s")])
    assert (trial.errors, trial.first_error) == (1, "no reply within 10 s")
    assert not trial.met(1000)
    assert trial.row(1, 1000)["v2v_p50_ms"] == 300.0


def test_calls_that_could_not_be_held_are_no_capacity():
    row = Trial(8, (), failure="nobody answers there").row(2, 1000)
    assert (row["errors"], row["met"], row["v2v_p95_ms"]) == (1, False, None)
    assert row["first_error"] == "nobody answers there"


def test_callers_that_were_too_busy_say_so():
    assert Trial(2, [turn(300.0, late=25.0)] * 3).row(1, 1000)["callers_late"]
    assert not Trial(2, [turn(300.0, late=5.0)] * 3).row(1, 1000)["callers_late"]


def test_the_rows_are_all_trials_and_what_they_come_to():
    said = []
    trials = {calls: Trial(calls, [turn(250.0 * calls)], 0.5, 0.1, 1.25) for calls in range(1, 9)}
    rows = []
    find_capacity(trials.__getitem__, 2, Search(1000, 8, 1), rows.append, said.append)
    assert [(row["calls"], row["met"]) for row in rows[:-1]] == [
        (1, True),
        (2, True),
        (4, True),
        (8, False),
        (6, False),
        (5, False),
    ]
    assert rows[0]["pss_gb"] == 1.25
    assert rows[-1] == {
        "what": "capacity",
        "workers": 2,
        "calls": 4,
        "limit_ms": 1000,
        "bounded": False,
    }
    assert said[1] == "2 processes, 2 calls at once, 1 had p95 250 ms"


# ---- callers -------------------------------------------------------------------------------


def held(monkeypatch, manner, calls, seconds=60.0, ours=True):
    """A trial in virtual time with an agent by script."""

    async def memory(process):
        return 1.5

    monkeypatch.setattr(module, "read_memory", memory)
    turns = [0]
    process = psutil.Process() if ours else None
    callers = Callers(lambda: FakeConnection(manner, turns), process, [question(0.4)] * 3, seconds)
    return in_virtual_time(callers.measure(calls))


@pytest.mark.slow
def test_calls_are_held_at_once_and_their_first_turns_do_not_count(monkeypatch):
    slow_at_first = Manner(lambda turn: 5.0 if turn < 3 else 0.2, reply=0.5)
    one, three = (held(monkeypatch, slow_at_first, calls) for calls in (1, 3))
    assert len({turn.call for turn in three.turns}) == 3
    assert len(three.turns) > 2 * len(one.turns)
    assert three.latency(0.5) == pytest.approx(200, abs=25)
    assert three.memory == 1.5
    assert three.met(1000)
    assert not three.met(100)


@pytest.mark.slow
def test_a_turn_without_a_reply_counts_as_one_error(monkeypatch):
    trial = held(monkeypatch, Manner(lambda turn: 600.0 if turn == 9 else 0.2), 2)
    assert (trial.errors, trial.first_error) == (1, "no reply within 20 s")


def test_calls_that_never_come_to_their_second_turn_are_an_error(monkeypatch):
    trial = held(monkeypatch, Manner(lambda turn: 2.0, reply=12.0), 2, seconds=1.0)
    assert (len(trial.turns), trial.errors) == (0, 1)


def test_an_agent_elsewhere_is_measured_without_its_processor_and_memory(monkeypatch):
    trial = held(monkeypatch, Manner(lambda turn: 0.2, reply=0.5), 1, seconds=3.0, ours=False)
    row = trial.row(None, 1000)
    assert (row["workers"], row["server_cpu"], row["pss_gb"]) == (None, None, None)
    assert row["met"]


@pytest.mark.parametrize(
    "options", [["--url", "ws://127.0.0.1:9", "--workers", "1"], ["--transport", "webrtc"]]
)
def test_options_of_an_agent_elsewhere_and_of_a_server_here_are_told_apart(options):
    done = CliRunner().invoke(app, ["bench", "capacity", *options])
    assert isinstance(done.exception, ConfigError)
    assert "--url" in str(done.exception)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the share of a page")
def test_shared_memory_is_counted_once():
    own = psutil.Process(os.getpid())
    assert 0 < proportional(own) * 1e9 <= own.memory_info().rss * 1.01


# ---- a server ------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.alone
def test_a_small_run_with_a_real_server(monkeypatch, tmp_path):
    """The default engines, one process, at most two calls of a few seconds, in real time."""
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)
    options = ["--workers", "1", "--most", "2", "--seconds", "8", "--json"]
    options += ["--limit-ms", "60000", "--rows", str(tmp_path / "rows.jsonl")]
    done = CliRunner().invoke(app, ["bench", "capacity", *options])
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if any(row.get("callers_late") for row in rows):
        pytest.skip("this machine is too busy to keep time")
    assert done.exit_code == 0, done.output
    assert [(row["what"], row["calls"]) for row in rows] == [
        ("trial", 1),
        ("trial", 2),
        ("capacity", 2),
    ]
    for row in rows[:2]:
        assert row["turns"] >= row["calls"]
        assert 0 < row["v2v_p50_ms"] <= row["v2v_p95_ms"]
        assert 0 < row["server_cpu"] < 1
    written = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert json.loads(written[0])["what"] == "machine"
    assert [json.loads(line) for line in written[1:]] == rows
