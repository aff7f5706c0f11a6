"""The figures of turn taking say what their rows say, and are taken from a real call."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from support.scenario import Scenario
from support.scenario_engines import live_engines

from agent.bench import turn_taking
from agent.bench.questions import QUESTIONS, bundled, spoken
from agent.bench.rows import write_rows
from agent.bench.turn_taking import AskedTurn, InterruptedReply, TurnFigures
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.question import SpokenQuestion
from agent.latency.results import TurnResult
from agent.protocol import WIRE_RATE
from agent.server.app import serve
from agent.server.ports import listen
from tts.tone import ToneSynthesizer


def turn(ms, *, speculation=True, hit=True, cut_off=False, error=None):
    result = TurnResult(1, "x.wav", "heard", "answered", ms, error=error)
    return AskedTurn(speculation, result, hit, cut_off)


def test_the_summary_is_that_of_the_rows():
    figures = TurnFigures(
        [turn(float(ms), hit=ms < 400, cut_off=ms == 100) for ms in range(100, 600, 100)]
        + [turn(1000.0, speculation=False, hit=None) for _ in range(4)]
        + [turn(None, speculation=False, hit=None, error="no reply within 20 s")],
        [InterruptedReply(420.0, 0.0), InterruptedReply(480.0, 35.0), InterruptedReply(400.0, 0.0)],
    )
    summary = figures.summary()
    off = summary.pop("without_speculation")
    assert summary == {
        "voice_to_voice_p50_ms": 300.0,
        "voice_to_voice_p95_ms": 480.0,
        "false_cutoff_rate": 0.2,
        "unanswered": 0,
        "speculation_hit_rate": 0.6,
        "silence_after_interrupt_ms": 35.0,
        "interrupt_to_silence_p50_ms": 420.0,
        "n": 5,
    }
    assert (off["voice_to_voice_p95_ms"], off["unanswered"]) == (1000.0, 1)


def test_without_rows_there_are_no_figures():
    summary = TurnFigures().summary()
    assert {summary[key] for key in summary if key not in ("n", "without_speculation")} == {None, 0}


def events(*kinds, **timings):
    timed = {"type": "onebreath.turn.timings", **timings}
    return [*({"type": kind} for kind in kinds), timed]


COMMITTED = "input_audio_buffer.committed"


@pytest.mark.parametrize(
    ("seen", "hit", "cut_off"),
    [
        (events(COMMITTED, speculation={"hit": True}), True, False),
        (events(COMMITTED, speculation={"hit": False}), False, False),
        (events(COMMITTED, speculation=None), False, False),
        (events(COMMITTED), None, False),
        (events(COMMITTED, COMMITTED, speculation={"hit": True}), True, True),
        ([], None, False),
    ],
)
def test_hits_and_cut_offs_are_read_from_the_events(seen, hit, cut_off):
    row = turn_taking._turn(True, turn(1.0).result, seen)
    assert (row.hit, row.cut_off) == (hit, cut_off)


def test_a_hesitation_is_as_long_as_it_says():
    sound = spoken(ToneSynthesizer(), "one two {0.5} three").samples
    loud = np.flatnonzero(np.abs(sound) > 0.005)
    longest = np.diff(loud).max() / WIRE_RATE
    assert longest == pytest.approx(0.5, abs=0.02)
    assert loud[0] < 0.01 * WIRE_RATE


def test_there_are_thirty_different_questions_with_the_bundled_ones():
    asked = {question.name for question in bundled()} | set(QUESTIONS)
    assert len(asked) == 30


def test_rows_follow_a_line_about_the_machine(tmp_path):
    path = tmp_path / "rows.jsonl"
    figures = TurnFigures([turn(100.0)], [InterruptedReply(400.0, 0.0)])
    write_rows(path, figures.rows(), "the command")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["what"] for row in rows] == ["machine", "turn", "interruption"]
    assert rows[0]["command"] == "the command"
    assert rows[0]["cores"] >= 1
    assert rows[1]["voice_to_voice_ms"] == 100.0
    with pytest.raises(CallError, match="cannot be written"):
        write_rows(tmp_path, [], "")


STORY = "Once there was a dog. He had a very long tail, and he could not see the end of it."


@pytest.mark.slow
async def test_a_server_is_asked_and_interrupted(monkeypatch):
    monkeypatch.setattr(turn_taking, "BLOCK", 1)
    scenario = Scenario.model_validate(
        {"name": "x", "answers": {"Tell me a story.": STORY}, "turns": [{"say": "x"}]}
    )
    engines = live_engines(scenario)

    def told(text):
        return SpokenQuestion(text, engines.asr.tongue.say(text, WIRE_RATE))

    sock = listen("127.0.0.1", 0)
    url = f"ws://127.0.0.1:{sock.getsockname()[1]}/v1/realtime"
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(Settings(), engines, sock, ready.set))
    try:
        await ready.wait()
        asked = [told("What is the time?"), told("And in Rome?")]
        interrupting = ([told("Tell me a story.")], told("No, stop it."), 1)
        figures = await turn_taking._measure(
            {True: url, False: url}, asked, interrupting, lambda line: None
        )
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        engines.compute.close()
        engines.voices.shutdown()
    kinds = [(row.speculation, row.result.file, row.result.error) for row in figures.turns]
    assert kinds == [
        (True, "What is the time?", None),
        (False, "What is the time?", None),
        (False, "And in Rome?", None),
        (True, "And in Rome?", None),
    ]
    assert all(100 < row.result.voice_to_voice_ms < 3000 for row in figures.turns)
    (interruption,) = figures.interruptions
    assert 50 < interruption.to_silence_ms < 2000
    assert interruption.after_decision_ms < 200
