from __future__ import annotations

import json

import numpy as np
import pytest

from agent.audio.samples import write_wav
from agent.errors import AudioError, ConfigError
from agent.latency.question import Check, Rule, read_questions
from agent.questions import bundled_questions


def unheard(note):
    raise AssertionError(note)


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", [np.full(1600, 0.5, np.float32)], 16_000)
    return tmp_path


def beside(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(
            content if isinstance(content, str) else json.dumps(content)
        )


def test_every_bundled_question_has_words_and_a_check():
    questions = read_questions(bundled_questions(), unheard)
    assert len(questions) >= 5
    assert all(question.text and question.check for question in questions)
    assert all("/" not in question.name for question in questions)
    paris = next(question for question in questions if "France" in question.text)
    assert paris.check.passes("The capital of France is Paris.")
    assert not paris.check.passes("Rome, I think.")


def test_a_directory_is_its_wav_files(folder):
    beside(folder, expected={"a": "hello"}, answers={"b": {"exact": "yes"}})
    first, second = read_questions([folder], unheard)
    assert (first.text, first.check) == ("hello", None)
    assert (second.text, second.check) == (None, Check(Rule.EXACT, "yes"))


@pytest.mark.parametrize(
    ("rule", "text", "right", "wrong"),
    [
        ("contains", "paris", "It is Paris.", "Rome"),
        ("regex", r"\b(8|eight)\b", "They have Eight legs", "eighteen"),
        ("exact", "Yes", " yes. ", "Yes it is"),
    ],
)
def test_the_rules(rule, text, right, wrong):
    check = Check.from_json({rule: text}, "here")
    assert check.passes(right)
    assert not check.passes(wrong)


@pytest.mark.parametrize("value", ["Paris", {}, {"like": "x"}, {"contains": 3}, {"regex": "("}])
def test_what_is_no_rule(folder, value):
    beside(folder, answers={"a": value})
    with pytest.raises(ConfigError, match=r"answers\.json: a"):
        read_questions([folder / "a.wav"], unheard)


@pytest.mark.parametrize("content", ["{", [], {"a": 3}])
def test_words_that_cannot_be_read(folder, content):
    beside(folder, expected=content)
    with pytest.raises(ConfigError, match=r"expected\.json"):
        read_questions([folder / "a.wav"], unheard)


def test_an_empty_directory_is_an_error(tmp_path):
    with pytest.raises(AudioError, match="no WAV files"):
        read_questions([tmp_path], unheard)
