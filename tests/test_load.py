"""Whole runs in virtual time: open and closed loop, stalls, lost lines."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support.fake_agent import FakeConnection, Manner, question
from support.fakes import in_virtual_time

from agent.audio.samples import read_sound_file
from agent.errors import CallError
from agent.latency.load import CallerBehaviour, LoadTest
from agent.latency.plan import LoadPlan
from agent.latency.summary import summarise


def run(plan, manner, **options):
    """Rows of a run against one agent; all calls share its count of turns."""
    rows, turns = [], [0]
    questions = [question(0.4, f"q{place}") for place in range(3)]
    load = LoadTest(plan, questions, lambda: FakeConnection(manner, turns), rows.append, **options)
    in_virtual_time(load.run())
    return rows


def p95(rows):
    return summarise(rows).figures["total"]["p95"].value


STALL = Manner(lambda turn: 0.137, reply=0.3, stalls=[(50.9, 52.9)])


@pytest.mark.slow
def test_a_stall_shows_in_p95_when_the_loop_is_open():
    """Work takes 1.14 s of every 1.4 s: after a stall of 2 s, eight turns come late."""
    rows = run(LoadPlan(turns=100, rate=60 / 1.4, warmup=0), STALL)
    assert len(rows) == 100
    assert sum(row.late_ms > 100 for row in rows) >= 6
    assert p95(rows) > 1000


@pytest.mark.slow
def test_the_same_stall_hides_from_a_caller_that_waits():
    rows = run(LoadPlan(turns=100, warmup=0), STALL)
    assert max(row.voice_to_voice_ms for row in rows) > 1000
    assert p95(rows) == pytest.approx(137, abs=1)


@pytest.mark.slow
def test_jitter_is_measured_within_a_millisecond():
    drawn = random.Random(1)
    delays = [drawn.gauss(0.5, 0.08) for _ in range(100)]
    rows = run(LoadPlan(turns=100, warmup=0), Manner(delays.__getitem__))
    found = summarise(rows).figures["total"]
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        truth = 1000 * float(np.quantile(delays, share, method="inverted_cdf"))
        assert found[name].value == pytest.approx(truth, abs=1)


def test_every_line_warms_up_and_all_turns_are_asked_once():
    rows = run(LoadPlan(turns=11, callers=3, warmup=2, turns_per_call=2), Manner(lambda turn: 0.1))
    assert sum(row.warmup for row in rows) == 6
    assert sorted(row.turn for row in rows if not row.warmup) == list(range(1, 12))
    assert len({row.call for row in rows}) == 9  # 6, 6 and 5 turns, two in each call


@pytest.mark.slow
def test_a_duration_ends_the_run():
    rows = run(LoadPlan(turns=None, duration=30.0, rate=30, warmup=0), Manner(lambda turn: 0.1))
    assert len(rows) == 15


def test_a_lost_line_costs_one_row_and_is_dialled_again():
    rows = run(LoadPlan(turns=10, warmup=0), Manner(lambda turn: 0.1, drops_after=4))
    assert [row.error for row in rows if row.error] == ["the connection was lost"]
    assert [row.turn for row in rows] == list(range(1, 11))
    assert rows[-1].call == 2


def test_an_agent_that_dies_leaves_a_row_for_every_turn():
    wires = []

    def dial():
        wires.append(FakeConnection(Manner(lambda turn: 0.1, drops_after=3, refuses=bool(wires))))
        return wires[-1]

    rows = []
    in_virtual_time(LoadTest(LoadPlan(turns=8, warmup=0), [question()], dial, rows.append).run())
    assert [row.error is None for row in rows] == [True] * 3 + [False] * 5
    assert rows[-1].error == "nobody answers there"
    assert summarise(rows).failed == 5


def test_nobody_there_at_all_is_an_error():
    with pytest.raises(CallError, match="nobody answers"):
        run(LoadPlan(turns=4, callers=2), Manner(refuses=True))


def test_an_unanswered_turn_counts_with_the_time_that_was_waited():
    manner = Manner(lambda turn: 60.0 if turn == 3 else 0.2)
    rows = run(LoadPlan(turns=6, warmup=0), manner, behaviour=CallerBehaviour(reply_timeout=5.0))
    summary = summarise(rows)
    assert summary.unanswered == summary.failed == 1
    assert summary.figures["total"]["max"].value == pytest.approx(5000, abs=60)
    assert summary.samples["voice_to_voice"] == 5


def test_every_call_is_recorded(tmp_path):
    run(LoadPlan(turns=4, warmup=0, turns_per_call=2), Manner(lambda turn: 0.1), record=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["call-0001.wav", "call-0002.wav"]
    recording = read_sound_file(tmp_path / "call-0001.wav", 24_000)
    assert len(recording.samples) > 24_000
