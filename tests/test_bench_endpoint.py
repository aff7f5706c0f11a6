from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.sounds import RATE
from typer.testing import CliRunner

import tts
from agent.audio.vad import EnergyVad
from agent.bench import endpoint
from agent.bench.endpoint import (
    DECODE_AFTER,
    EAGER,
    Pause,
    PauseFinder,
    by_both,
    by_model,
    by_rules,
    figures,
    fixed,
    pause_row,
    score,
)
from agent.bench.utterances import (
    LONGEST_PAUSE,
    SHORTEST_PAUSE,
    SILENCE_AFTER,
    SILENCE_BEFORE,
    Utterance,
    program_voice,
    read_utterances,
    synthesizer_voice,
)
from agent.bench.utterances import UTTERANCES as UTTERANCES_FILE
from agent.cli.main import app
from agent.config.settings import TurnSettings
from agent.errors import AudioError, ConfigError
from agent.reply import TurnEnding
from agent.turn_taking.completeness import TurnVerdict, completeness
from asr.scripted import ScriptedTranscriber

COMPLETE, UNSURE, INCOMPLETE = EAGER.complete, EAGER.unsure, EAGER.incomplete
UTTERANCES = read_utterances()
THREE = Utterance("request", ("one two three four five", "six seven eight nine", "ten eleven"))


def pause(words: str = "a table for", seconds: float = 0.7, **changes: object) -> Pause:
    made = Pause(
        voice="piper",
        kind="request",
        text="a table for four",
        held_out=True,
        final=False,
        late=0.0,
        seconds=seconds,
        words=words,
        decode_seconds=0.05,
        seconds_of_speech=1.0,
        seconds_of_voice=1.0,
        model=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


FINAL = pause("A table for four, please.", 3.0, final=True)


def test_there_are_enough_different_utterances_in_both_halves() -> None:
    assert len(UTTERANCES) == len({utterance.text for utterance in UTTERANCES}) >= 120
    assert 0.4 < np.mean([utterance.held_out for utterance in UTTERANCES]) < 0.6
    assert 0.4 < np.mean([len(utterance.parts) > 1 for utterance in UTTERANCES]) < 0.8
    for utterance in UTTERANCES:
        assert utterance.kind.isidentifier()
        assert all(part and "|" not in part for part in utterance.parts)


def test_pauses_are_thoughtful_and_the_same_in_every_run() -> None:
    pauses = [seconds for utterance in UTTERANCES for seconds in utterance.pauses]
    assert min(pauses) >= SHORTEST_PAUSE
    assert max(pauses) <= LONGEST_PAUSE
    assert np.std(pauses) > 0.2
    assert read_utterances()[3].pauses == UTTERANCES[3].pauses


def test_a_voice_is_cut_where_the_parts_end() -> None:
    spoken = synthesizer_voice(tts.load("tone"))(THREE)
    frames = spoken.samples[: len(spoken.samples) // 160 * 160].reshape(-1, 160)
    loud = np.sqrt(np.square(frames).mean(axis=1)) > 0.01
    edges = np.flatnonzero(np.diff(loud.astype(int)))
    silences = np.diff(edges)[1::2] / 100
    long = silences[silences > 0.2]
    np.testing.assert_allclose(long, THREE.pauses, atol=0.04)
    assert edges[0] / 100 == pytest.approx(SILENCE_BEFORE, abs=0.03)
    assert edges[-1] / 100 == pytest.approx(spoken.speech_end, abs=0.03)
    assert len(spoken.samples) / RATE == pytest.approx(spoken.speech_end + SILENCE_AFTER, abs=0.01)


def test_every_pause_is_found_with_the_words_before_it() -> None:
    spoken = synthesizer_voice(tts.load("tone"))(THREE)
    scripts = [[(0, words)] for words in ("one", "two", "three")]
    finder = PauseFinder(
        ScriptedTranscriber(scripts), EnergyVad, None, TurnSettings(min_speech=0.05)
    )
    found = list(finder.pauses("tone", THREE, spoken))
    assert [pause.words for pause in found] == ["one", "two", "three"]
    assert [pause.final for pause in found] == [False, False, True]
    measured = [pause.seconds for pause in found[:-1]]
    np.testing.assert_allclose(measured, THREE.pauses, atol=0.1)
    assert abs(found[-1].late) < 0.1


@pytest.mark.parametrize("name", ["festival:kal", "flute", ""])
def test_an_unknown_program_is_refused(name: str) -> None:
    with pytest.raises(AudioError, match="give piper, espeak-ng:VOICE or flite:VOICE"):
        program_voice(name)


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AudioError, match="flite is not installed"):
        program_voice("flite:slt")


def test_a_pause_longer_than_its_delay_is_a_cut_off() -> None:
    pauses = [pause(seconds=0.7), FINAL]
    assert score(pauses, fixed(0.5))["false_cutoff_rate"] == 1.0
    assert score(pauses, fixed(0.8))["false_cutoff_rate"] == 0.0
    assert score(pauses, by_rules(EAGER))["false_cutoff_rate"] == 0.0


def test_an_utterance_that_is_cut_twice_counts_once() -> None:
    other = replace(FINAL, text="What time is it?", words="What time is it?")
    row = score([pause(), pause(), FINAL, other], fixed(0.5))
    assert (row["utterances"], row["pauses"], row["pauses_cut"]) == (2, 2, 2)
    assert row["false_cutoff_rate"] == 0.5


def test_the_delay_is_counted_from_the_end_of_the_sound() -> None:
    row = score([replace(FINAL, late=0.03)], fixed(0.5))
    assert row["mean_delay_ms"] == row["p90_delay_ms"] == 530.0


@pytest.mark.parametrize(
    ("words", "decode", "expected"),
    [
        ("That's all, thanks.", 0.05, COMPLETE),
        ("That's all, thanks.", 0.25, DECODE_AFTER + 0.25),
        ("I went there.", 0.25, UNSURE),
        ("I went to", 0.25, INCOMPLETE),
    ],
)
def test_a_reply_can_begin_when_the_turn_is_over_and_the_words_are_known(
    words: str, decode: float, expected: float
) -> None:
    row = score([replace(FINAL, words=words, decode_seconds=decode)], by_rules(EAGER))
    assert row["mean_answer_ms"] == pytest.approx(1000 * expected, abs=0.1)


@pytest.mark.parametrize(
    ("words", "model", "expected"),
    [
        ("What time is it?", 0.1, COMPLETE),
        ("I went to", 0.9, INCOMPLETE),
        ("I went there.", 0.9, COMPLETE),
        ("I went there.", 0.1, UNSURE),
    ],
)
def test_the_model_decides_what_the_words_leave_open(
    words: str, model: float, expected: float
) -> None:
    assert by_both(EAGER)(pause(words, model=model)) == expected
    alone = by_model(EAGER)(pause(words, model=model))
    assert alone == (COMPLETE if model > 0.5 else INCOMPLETE)


def test_there_is_a_row_for_each_half_and_policy() -> None:
    pauses = [FINAL, replace(FINAL, held_out=False)]
    rows = list(figures(pauses, TurnSettings(), with_model=True))
    assert len({(row["half"], row["policy"]) for row in rows}) == len(rows) == 14
    assert len(list(figures(pauses, TurnSettings(), with_model=False))) == 10


def test_a_row_says_why() -> None:
    row = pause_row(pause("I'd like a table for", seconds=0.7004))
    assert (row["verdict"], row["rule"], row["seconds"]) == ("INCOMPLETE", "preposition", 0.7)
    assert completeness(str(row["words"])).verdict is TurnVerdict.INCOMPLETE


def test_the_command_prints_the_rows_and_keeps_the_pauses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pauses = [FINAL, replace(FINAL, held_out=False), pause()]
    asked = []

    def measured(
        settings: object, names: object, progress: object, utterances: list[Utterance]
    ) -> tuple[list[Pause], bool]:
        asked.append(names)
        return pauses, False

    monkeypatch.setattr(endpoint, "measure", measured)
    kept = tmp_path / "pauses.jsonl"
    command = ["bench", "endpoint", "--json", "--voices", "flite:slt", "--rows", str(kept)]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [row["policy"] for row in rows if row["half"] == "held out"] == [
        "fixed 500 ms",
        "fixed 800 ms",
        "rules",
        "eager rules",
        "patient rules",
    ]
    machine, *found = map(json.loads, kept.read_text().splitlines())
    assert machine["command"] == "onebreath bench endpoint --voices flite:slt"
    assert [row["rule"] for row in found] == [
        "polite",
        "polite",
        "preposition",
    ]
    assert asked == [["flite:slt"]]


def test_the_head_shortens_sure_ends_and_its_curve_is_told():
    def pause(text, final, seconds, over):
        ending = TurnEnding(over, 1.0 - over, 0.0, 0.0, 0.0)
        words = "I would like to see the manager of the shop."
        return Pause("v", "k", text, True, final, 0.0, seconds, words, 0.0, 1.5, 1.5, None, ending)

    pauses = [
        pause("a", True, 9.0, 0.99),
        pause("b", True, 9.0, 0.99),
        pause("b", False, 0.7, 0.05),
    ]
    table = list(
        figures([*pauses, *(replace(p, held_out=False) for p in pauses)], TurnSettings(), False)
    )
    rows = {row["policy"]: row for row in table if row["half"] == "held out"}
    head, rules = rows["rules + head"], rows["rules"]
    assert head["mean_delay_ms"] < rules["mean_delay_ms"]
    assert head["false_cutoff_rate"] == rules["false_cutoff_rate"] == 0.0
    assert rules["cutoff_rate_at_300_ms"] == 0.5
    assert head["cutoff_rate_at_300_ms"] == 0.0
    assert head["delay_at_5_percent_ms"] < rules["delay_at_5_percent_ms"]


THINKING_POINTS = UTTERANCES_FILE.with_name("thinking_points.txt")


def test_unseen_utterances_are_others_and_none_was_tuned_on() -> None:
    unseen = read_utterances(THINKING_POINTS)
    assert len(unseen) >= 60
    assert {utterance.kind for utterance in unseen} == {"request", "question", "story", "spoken"}
    assert all(utterance.held_out for utterance in unseen)
    assert not {u.text for u in unseen} & {u.text for u in UTTERANCES}
    assert not all(utterance.held_out for utterance in UTTERANCES)


@pytest.mark.parametrize("line", ["no kind", "question: | what", "question:", "story: a | | b"])
def test_a_file_of_utterances_that_is_wrong_is_told_with_its_line(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "own.txt"
    path.write_text(f"# mine\n\nanswer: Yes | please.\n{line}\n")
    with pytest.raises(ConfigError, match="line 4: write kind"):
        read_utterances(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_utterances(path)


def test_the_command_takes_utterances_of_your_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, asked = tmp_path / "own.txt", []
    path.write_text("answer: Yes, | please.\n")

    def measured(
        settings: object, names: object, progress: object, utterances: list[Utterance]
    ) -> tuple[list[Pause], bool]:
        asked.extend(utterances)
        return [FINAL], False

    monkeypatch.setattr(endpoint, "measure", measured)
    ran = CliRunner().invoke(app, ["bench", "endpoint", "--json", "--utterances", str(path)])
    assert ran.exit_code == 0, ran.output
    assert [(u.kind, u.parts, u.held_out) for u in asked] == [("answer", ("Yes,", "please."), True)]
    assert {json.loads(line)["half"] for line in ran.stdout.splitlines()} == {"held out"}
