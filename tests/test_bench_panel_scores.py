"""The panel's figures are those of their definitions, on timelines whose outcome is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.bench.panel_scores import (
    AgentSpan,
    CallerEvent,
    Timeline,
    counted,
    event_row,
    merged,
    on_ticks,
    panel,
    score,
)
from agent.bench.panel_script import EventKind

TURN = CallerEvent(EventKind.TURN, "question", 1.0, 3.0, wants_reply=True)
REPLY = AgentSpan(3.5, 8.0, ended_by_itself=True)


def figures(*timelines: Timeline) -> dict[str, float | None]:
    scored = [one for timeline in timelines for one in score(timeline)]
    return {name: value for name, (value, _) in panel(scored).items()}


def over(kind: EventKind, start: float, end: float, agent: AgentSpan, **more) -> Timeline:
    return Timeline((CallerEvent(kind, "x", start, end, **more),), (agent,))


def test_a_turn_is_answered_after_its_end():
    found = figures(Timeline((TURN,), (REPLY,)))
    assert (found["L_R"], found["R_R"], found["I_A"]) == (0.5, 1.0, 0.0)
    assert found["L_Y"] is None
    assert found["sel"] is None


def test_a_reply_after_the_caller_had_to_speak_again_is_none_to_the_first_turn():
    again = replace(TURN, start=9.0, end=10.0)
    found = figures(Timeline((TURN, again), (AgentSpan(10.2, 12.0),)))
    assert (found["R_R"], found["L_R"]) == (0.5, pytest.approx(0.2))
    heard = figures(Timeline((TURN, again), (AgentSpan(8.9, 12.0),)))
    # The second turn interrupts, and the agent speaks on: no reply is due to it any more.
    assert (heard["R_R"], heard["R_Y"]) == (1.0, 0.0)


def test_a_cough_between_turn_and_reply_does_not_count_as_speaking_again():
    cough = CallerEvent(EventKind.VOCAL_TIC, "cough", 3.1, 3.3)
    (turn, tic) = score(Timeline((TURN, cough), (REPLY,)))
    assert turn.answered is True
    assert tic.ignored is False


@pytest.mark.parametrize(
    ("silent_at", "rate", "latency"), [(5.4, 1.0, 0.4), (7.0, 1.0, 2.0), (7.1, 0.0, None)]
)
def test_an_interruption_is_yielded_to_within_two_seconds(silent_at, rate, latency):
    found = figures(over(EventKind.INTERRUPTION, 5.0, 6.0, AgentSpan(3.5, silent_at)))
    assert found["R_Y"] == rate
    assert found["L_Y"] == (latency if latency is None else pytest.approx(latency))


def test_a_reply_that_was_over_yields_to_nobody():
    ends = AgentSpan(3.5, 5.3, ended_by_itself=True)
    found = figures(over(EventKind.INTERRUPTION, 5.0, 6.0, ends))
    assert (found["R_Y"], found["L_Y"]) == (None, None)
    long = replace(ends, end=7.5)
    assert figures(over(EventKind.INTERRUPTION, 5.0, 6.0, long))["R_Y"] == 0.0


def test_an_interruption_wants_a_reply_only_if_it_says_so():
    stop = over(EventKind.INTERRUPTION, 5.0, 6.0, AgentSpan(3.5, 5.4))
    assert figures(stop)["R_R"] is None
    asks = over(EventKind.INTERRUPTION, 5.0, 6.0, AgentSpan(3.5, 5.4), wants_reply=True)
    assert figures(asks)["R_R"] == 0.0
    answered = replace(asks, agent=(*asks.agent, AgentSpan(6.5, 8.0)))
    assert (figures(answered)["R_R"], figures(answered)["L_R"]) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("kind", "figure"),
    [
        (EventKind.BACKCHANNEL, "S_BC"),
        (EventKind.VOCAL_TIC, "S_VT"),
        (EventKind.NOT_DIRECTED, "S_ND"),
        (EventKind.NOISE, "S_N"),
    ],
)
def test_what_is_no_turn_is_spoken_through(kind, figure):
    spoken = over(kind, 5.0, 5.4, AgentSpan(3.5, 8.0))
    assert figures(spoken)[figure] == 1.0
    yields = over(kind, 5.0, 5.4, AgentSpan(3.5, 5.9))
    assert figures(yields)[figure] == 0.0
    late = over(kind, 5.0, 5.4, AgentSpan(3.5, 6.1))
    assert figures(late)[figure] == 1.0
    over_anyway = over(kind, 5.0, 5.4, AgentSpan(3.5, 5.9, ended_by_itself=True))
    assert figures(over_anyway)[figure] is None


@pytest.mark.parametrize(("begins", "ignored"), [(7.3, 0.0), (7.5, 1.0), (5.2, 0.0)])
def test_in_silence_it_gets_no_reply_for_two_seconds(begins, ignored):
    timeline = over(EventKind.VOCAL_TIC, 5.0, 5.4, AgentSpan(begins, 9.0))
    assert figures(timeline)["S_VT"] == ignored


def test_selectivity_is_the_mean_of_its_three_kinds():
    held, cut = AgentSpan(3.5, 8.0), AgentSpan(3.5, 5.9)
    found = figures(
        over(EventKind.BACKCHANNEL, 5.0, 5.4, held),
        over(EventKind.VOCAL_TIC, 5.0, 5.4, held),
        over(EventKind.VOCAL_TIC, 5.0, 5.4, cut),
        over(EventKind.NOT_DIRECTED, 5.0, 5.4, cut),
    )
    assert found["sel"] == pytest.approx((1.0 + 0.5 + 0.0) / 3)


def test_speech_of_the_agent_that_begins_in_a_turn_interrupts_the_caller():
    paused = replace(TURN, pauses=((1.8, 2.4),))
    clean = figures(Timeline((paused,), (REPLY,)))
    assert (clean["I_A"], clean["cut_off"]) == (0.0, 0.0)
    early = figures(Timeline((paused,), (AgentSpan(2.2, 2.7), AgentSpan(3.5, 8.0))))
    assert (early["I_A"], early["cut_off"], early["R_R"]) == (1.0, 1.0, 1.0)


def test_a_turn_that_was_ended_in_a_pause_is_cut_off_even_if_nothing_was_said():
    paused = replace(TURN, pauses=((1.8, 2.4),))
    late = figures(Timeline((paused,), (REPLY,), turn_ends=(2.45, 3.3)))
    assert late["cut_off"] == 1.0
    before = figures(Timeline((paused,), (REPLY,), turn_ends=(1.2, 3.3)))
    assert before["cut_off"] == 0.0
    found = figures(Timeline((paused,), (REPLY,), turn_ends=(2.2, 3.3)))
    assert (found["cut_off"], found["I_A"]) == (1.0, 0.0)
    assert found["turn_end"] == pytest.approx(0.3)


def test_ticks_are_full_of_what_sounds_in_a_part_of_them():
    timeline = on_ticks(Timeline((TURN,), (AgentSpan(3.5, 3.71), AgentSpan(3.75, 8.05))))
    assert [(s.start, s.end) for s in timeline.agent] == [(3.4, 8.2)]
    shifted = on_ticks(Timeline((replace(TURN, start=1.1, end=2.9),), ()))
    assert (shifted.events[0].start, shifted.events[0].end) == (1.0, 3.0)
    broken = on_ticks(Timeline((), (AgentSpan(3.5, 4.1), AgentSpan(4.41, 5.0))))
    assert [(s.start, s.end) for s in broken.agent] == [(3.4, 4.2), (4.4, 5.0)]


def test_short_gaps_join_and_the_last_part_tells_how_it_ended():
    spans = [AgentSpan(1.0, 2.0), AgentSpan(2.3, 3.0, ended_by_itself=True), AgentSpan(4.0, 5.0)]
    assert merged(spans, 0.5) == [AgentSpan(1.0, 3.0, ended_by_itself=True), AgentSpan(4.0, 5.0)]


def test_rows_hold_what_was_scored_and_nothing_else():
    (scored,) = score(over(EventKind.BACKCHANNEL, 5.0, 5.4, AgentSpan(3.5, 8.0)))
    row = event_row(scored)
    assert (row["kind"], row["ignored"], row["over"]) == ("backchannel", True, True)
    assert "answered" not in row
    assert counted([scored]) == 1


def test_without_events_there_are_no_figures():
    assert set(panel([]).values()) == {(None, 0)}
