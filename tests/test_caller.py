"""The caller against an agent whose times are known, in virtual time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support.fake_agent import RATE, FakeConnection, Manner, question
from support.fakes import in_virtual_time

from agent.errors import CallError
from agent.latency.caller import Caller, PlannedInterruption
from agent.latency.question import Check, Rule, SpokenQuestion


def ask(manner, questions, **options):
    """The rows of one call, and its recording."""

    async def call():
        caller = Caller(FakeConnection(manner), reply_timeout=options.pop("timeout", 20.0))
        async with caller.silence():
            rows = [
                await caller.ask(number, asked, **options)
                for number, asked in enumerate(questions, 1)
            ]
        return rows, caller.audio

    return in_virtual_time(call())


@pytest.mark.parametrize("delay_ms", [0, 50, 137, 800])
def test_a_known_delay_is_measured(delay_ms):
    manner = Manner(lambda turn: delay_ms / 1000)
    rows, _ = ask(manner, [question(0.4)] * 20)
    measured = [row.voice_to_voice_ms for row in rows]
    assert measured == pytest.approx([delay_ms] * 20, abs=0.1)
    assert all(row.error is None for row in rows)


@pytest.mark.slow
def test_delays_that_vary_are_measured_one_by_one():
    drawn = random.Random(3)
    delays = [drawn.uniform(0.02, 0.9) for _ in range(50)]
    rows, _ = ask(Manner(delays.__getitem__), [question(0.333)] * 50)
    errors = [
        abs(row.voice_to_voice_ms - 1000 * delay) for row, delay in zip(rows, delays, strict=True)
    ]
    assert max(errors) < 0.1


def test_a_reply_before_the_next_frame_waits_for_the_frame():
    """A frame is sent when its last sample was spoken, so up to 20 ms are the microphone's."""
    rows, _ = ask(Manner(lambda turn: 0.0), [question(0.41)])
    assert rows[0].voice_to_voice_ms == pytest.approx(10, abs=0.1)


def test_silence_before_the_first_audible_sample_is_part_of_the_latency_and_shown():
    rows, _ = ask(Manner(lambda turn: 0.4, leading=0.15), [question()])
    assert rows[0].voice_to_voice_ms == pytest.approx(400, abs=0.1)
    assert rows[0].leading_silence_ms == pytest.approx(150, abs=0.1)


def test_a_piece_of_sound_that_comes_late_is_a_gap():
    rows, _ = ask(Manner(lambda turn: 0.2, paced=0.05, late_piece=0.04), [question()])
    assert rows[0].gaps_ms == pytest.approx([40], abs=0.1)
    rows, _ = ask(Manner(lambda turn: 0.2, paced=0.05), [question()])
    assert rows[0].gaps_ms == []


def test_mouth_and_ear_lie_on_one_timeline_to_the_sample():
    asked = question()
    rows, line = ask(Manner(lambda turn: 0.1), [asked] * 2)
    for row in rows:
        begins = round(row.began_s * RATE)
        assert np.array_equal(line.mouth[begins : begins + len(asked.samples)], asked.samples)
        reply = begins + len(asked.samples) - 1 + round(row.voice_to_voice_ms / 1000 * RATE)
        assert line.ear[reply] != 0
        assert not line.ear[reply - RATE // 20 : reply].any()


def test_a_late_question_counts_from_when_it_was_due():
    async def call():
        caller = Caller(FakeConnection(Manner(lambda turn: 0.2)))
        async with caller.silence():
            first = await caller.ask(1, question(), due=1.0)
            return first, await caller.ask(2, question(), due=1.1)

    first, second = in_virtual_time(call())
    assert first.began_s == pytest.approx(1.0)
    assert first.late_ms == 0
    assert second.late_ms == pytest.approx(1000 * (second.began_s - 1.1), abs=0.1)
    assert second.total_ms == pytest.approx(200 + second.late_ms, abs=0.1)


@pytest.mark.parametrize("yields_ms", [120, 300])
def test_the_time_to_interrupt(yields_ms):
    manner = Manner(lambda turn: 0.25, reply=4.0, paced=0.1, yields=yields_ms / 1000)
    rows, _ = ask(manner, [question()], interruption=PlannedInterruption(question(0.6), 1.0))
    (row,) = rows
    assert row.error is None
    assert row.voice_to_voice_ms == pytest.approx(250, abs=0.1)
    assert row.interrupt_ms == pytest.approx(yields_ms, abs=0.1)
    assert row.recovery_ms == pytest.approx(250, abs=0.1)


def test_an_agent_that_never_yields_is_timed_to_the_end_of_its_reply():
    manner = Manner(lambda turn: 0.25, reply=1.4)
    rows, _ = ask(manner, [question()], interruption=PlannedInterruption(question(0.6), 1.0))
    assert rows[0].interrupt_ms == pytest.approx(400, abs=25)


def test_a_short_reply_is_not_interrupted():
    manner = Manner(lambda turn: 0.25, reply=0.5)
    rows, _ = ask(manner, [question()], interruption=PlannedInterruption(question(0.6), 1.0))
    assert rows[0].interrupt_ms is None
    assert rows[0].error is None


def test_no_reply_is_an_error_that_says_how_long_was_waited():
    rows, _ = ask(Manner(lambda turn: 60.0), [question()], timeout=2.0)
    assert rows[0].voice_to_voice_ms is None
    assert rows[0].error == "no reply within 2 s"
    assert rows[0].waited_ms == pytest.approx(2000, abs=60)
    assert rows[0].total_ms == rows[0].waited_ms


def test_a_silent_reply_is_an_error_and_no_short_latency():
    rows, _ = ask(Manner(lambda turn: 0.5, leading=0.5, reply=0.0), [question()])
    assert rows[0].error == "the reply was not audible"
    assert rows[0].total_ms is None


def test_an_agent_that_talks_over_the_end_of_the_question_has_no_latency():
    early = np.concatenate([question(0.2).samples, question(0.4).samples])
    rows, _ = ask(Manner(lambda turn: 0.0, reply=0.5), [SpokenQuestion("two parts", early)])
    assert rows[0].error == "the agent spoke before the question was over"
    assert rows[0].total_ms is None
    assert rows[0].talked_over_ms > 200


def test_where_the_agent_does_not_tell_silence_ends_the_reply():
    rows, _ = ask(Manner(lambda turn: 0.3, tells=False), [question()] * 3)
    assert [row.voice_to_voice_ms for row in rows] == pytest.approx([300] * 3, abs=0.1)
    assert rows[1].began_s - rows[0].began_s == pytest.approx(0.4 + 0.3 + 0.3 + 1.0, abs=0.1)


def test_the_answer_is_checked():
    asked = [
        SpokenQuestion("q", question().samples, check=Check(Rule.CONTAINS, text))
        for text in ("paris", "Rome")
    ]
    rows, _ = ask(Manner(lambda turn: 0.1), asked)
    assert [row.check for row in rows] == [True, False]


def test_a_lost_line_is_an_error():
    with pytest.raises(CallError, match="lost"):
        ask(Manner(lambda turn: 0.1, drops_after=1), [question()] * 3)
