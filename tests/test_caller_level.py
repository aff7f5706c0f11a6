"""The caller's level: far voices are not his, his own softer voice is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.audio.caller_level import (
    FAR,
    FAR_OVER_AGENT,
    FRAME_SECONDS,
    MOST_STEPS_DB,
    PAUSE_SECONDS,
    CallerLevel,
    level_of,
)
from agent.audio.samples import read_sound_file
from agent.audio.vad import SileroVad
from agent.config.settings import TurnSettings
from agent.runtime.audio_input import CallerAudio
from agent.turn_taking.detector import TurnDetector, TurnEvent

LOUD = -20.0
QUESTIONS = Path(__file__).parent.parent / "agent" / "questions"
LIBRIVOX = Path(__file__).parent / "data" / "librivox"
VOICES = [*QUESTIONS.glob("*.wav"), *LIBRIVOX.glob("*.wav")]


class Line:
    """Frames of one call, by level."""

    def __init__(self):
        self.level = CallerLevel()

    def voice(self, level, seconds, over_agent=False):
        """Shares of the frames that are taken for the caller's."""
        rng = np.random.default_rng(1)
        frames = [
            self.level.is_caller(level + float(rng.uniform(-4, 1)), 0.9, over_agent)
            for _ in range(round(seconds / FRAME_SECONDS))
        ]
        return sum(frames) / len(frames)

    def silence(self, seconds):
        for _ in range(round(seconds / FRAME_SECONDS)):
            self.level.is_caller(-75.0, 0.0)


@pytest.fixture
def line():
    """The caller has spoken and is silent now."""
    made = Line()
    assert made.voice(LOUD, 2.0) == 1.0
    return made


@pytest.mark.parametrize("level", [-10.0, -30.0, -45.0, -60.0])
def test_a_quiet_caller_alone_is_heard(level):
    assert Line().voice(level, 5.0) == 1.0


@pytest.mark.parametrize("under", [15, 20, 24, 30, 45])
def test_a_far_voice_in_the_callers_pause_is_not_his(line, under):
    line.silence(0.3)
    assert line.voice(LOUD - under, 5.0) < 0.1


@pytest.mark.parametrize("under", [26, 30, 45])
def test_a_far_voice_begins_no_turn(line, under):
    line.silence(3.0)
    assert line.voice(LOUD - under, 10.0) == 0.0


def test_a_far_voice_that_goes_on_after_the_pause_stays_far(line):
    assert line.voice(LOUD - 16, 10.0) < 0.05
    line.silence(0.8)
    assert line.voice(LOUD - 16, 10.0) == 0.0
    assert line.voice(LOUD, 1.0) > 0.9


@pytest.mark.parametrize("under", [6, 12, 18])
def test_a_caller_who_speaks_more_softly_in_his_next_turn_is_heard(line, under):
    line.silence(3.0)
    assert line.voice(LOUD - under, 5.0) == 1.0
    line.silence(3.0)
    assert line.voice(LOUD - under - 6, 5.0) == 1.0


@pytest.mark.parametrize(("under", "seconds"), [(8, 0.45), (10, 0.35), (14, 0.2)])
def test_the_end_of_a_sentence_may_fall(line, under, seconds):
    assert line.voice(LOUD - under, seconds) == 1.0


def test_a_fall_before_a_pause_does_not_count_for_the_words_behind_it(line):
    assert line.voice(LOUD - 9, 0.3) == 1.0
    line.silence(0.3)
    assert line.voice(LOUD - 9, 0.2) == 1.0


def test_one_who_has_gone_quiet_and_waits_for_an_answer_is_heard_in_the_end(line):
    heard = []
    for _ in range(4):
        line.silence(3.0)
        heard.append(line.voice(LOUD - FAR - 8, 1.5))
    assert heard[0] == 0.0
    assert heard[-1] == 1.0


@pytest.mark.parametrize("since", [0.5, 3.0])
def test_over_the_agent_nobody_speaks_much_more_softly(line, since):
    line.silence(since)
    assert line.voice(LOUD - FAR_OVER_AGENT - 6, 1.0, over_agent=True) == 0.0
    line.silence(0.3)
    assert line.voice(LOUD - 4, 1.0, over_agent=True) > 0.9


def test_one_who_has_gone_quiet_over_the_agent_is_heard_in_the_end(line):
    heard = []
    for _ in range(3):
        line.silence(3.0)
        heard.append(line.voice(LOUD - FAR_OVER_AGENT - 5, 1.5, over_agent=True))
    assert heard[0] == 0.0
    assert heard[-1] == 1.0


def test_the_level_falls_no_deeper_than_its_bound(line):
    for _ in range(20):
        line.silence(3.0)
        assert line.voice(LOUD - FAR - MOST_STEPS_DB - 12, 1.5) == 0.0


@pytest.mark.slow
def test_a_television_that_never_waits_lowers_nothing(line):
    line.silence(3.0)
    for _ in range(20):
        assert line.voice(LOUD - FAR - 6, 4.0) == 0.0
        line.silence(0.5)


def test_a_voice_before_the_caller_is_far_once_he_speaks():
    line = Line()
    line.voice(-50.0, 4.0)
    assert line.voice(LOUD, 1.5) == 1.0
    assert line.voice(-50.0, 5.0) < 0.1


def test_level_of_a_frame():
    assert level_of(np.full(512, 0.1, np.float32)) == pytest.approx(-20.0)
    assert level_of(np.zeros(512, np.float32)) == -120.0
    assert TurnSettings().incomplete_delay < PAUSE_SECONDS


# ---- real voices -------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(VOICES), ids=lambda path: path.stem)
def test_one_person_alone_is_heard_to_the_last_word(path):
    sound = np.concatenate([read_sound_file(path, 16_000).samples, np.zeros(16_000, np.float32)])
    level = CallerLevel()
    gate = SileroVad.load()()
    taken = []
    for frame in np.split(sound[: len(sound) // 512 * 512], len(sound) // 512):
        probability = gate.probability(frame)
        taken.append(level.is_caller(level_of(frame), probability))
    assert all(taken)


def played(sound, level):
    """(begins, ends) of turns, in seconds, with an endpoint delay of 0.5 s."""
    ear = CallerAudio(SileroVad.load()(), 16_000, 0.0, level=level)
    detector = TurnDetector(TurnSettings())
    detector.delay = 0.5
    found = {TurnEvent.BEGAN: [], TurnEvent.ENDED: []}
    for frame in ear.push(sound, 0.0):
        end = frame.chunk.end / 16_000
        event = detector.frame(frame.probability, frame.chunk.start / 16_000, end)
        if event in found:
            found[event].append(end)
    return found[TurnEvent.BEGAN], found[TurnEvent.ENDED]


def question_over(name, under, loudness=1.0, offset=0.0):
    """A question, from 0.5 s on, over a reader ``under`` dB below it, and the end of it."""
    asked = read_sound_file(QUESTIONS / name, 16_000).samples
    reader = read_sound_file(LIBRIVOX / "0890.wav", 16_000).samples
    far = np.resize(reader, 8 * 16_000 + len(asked))
    power = float(np.mean(np.square(asked)) / np.mean(np.square(reader)))
    mixed = far * np.sqrt(power) * 10 ** (-under / 20)
    mixed[8000 : 8000 + len(asked)] += asked
    return (loudness * mixed + offset).astype(np.float32), 0.5 + len(asked) / 16_000


@pytest.mark.parametrize(
    ("name", "under", "loudness", "offset"),
    [
        ("capital_of_france.wav", 20, 1.0, 0.0),
        ("capital_of_france.wav", 30, 0.03, 0.0),
        ("spider_legs.wav", 24, 1.0, 0.0),
        ("spider_legs.wav", 45, 0.5, 0.2),
    ],
)
def test_a_turn_ends_although_somebody_far_away_speaks_on(name, under, loudness, offset):
    sound, end = question_over(name, under, loudness, offset)
    begins, ends = played(sound, CallerLevel())
    assert begins[0] < 1.2
    assert end - 0.5 < ends[0] < end + 1.0


@pytest.mark.slow
@pytest.mark.parametrize("under", [26, 30])
def test_somebody_far_away_takes_no_turn(under):
    sound, _ = question_over("capital_of_france.wav", under)
    begins, ends = played(sound, CallerLevel())
    assert (len(begins), len(ends)) == (1, 1)
    if under == 30:
        assert len(played(sound, None)[0]) > 1, "without the level he does"
