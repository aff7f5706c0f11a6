"""Spoken questions: a recording, its words, and a check of the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from agent.audio.samples import Samples, read_sound_file, resample
from agent.errors import AudioError, ConfigError
from agent.protocol import WIRE_RATE
from agent.questions import bundled_questions

WORDS_FILE = "expected.json"
"""File beside the recordings with their words, by file name without suffix."""
ANSWERS_FILE = "answers.json"
"""File beside the recordings with a check of the answer, by file name without suffix."""


class Rule(StrEnum):
    """Rule by which an answer is compared; every rule ignores case.

    Attributes:
        CONTAINS: the answer contains the text.
        REGEX: the regular expression matches somewhere in the answer.
        EXACT: the answer equals the text, apart from white space and full stops at the ends.
    """

    CONTAINS = "contains"
    REGEX = "regex"
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Check:
    """Check of an answer: a rule and its text or regular expression."""

    rule: Rule
    text: str

    def passes(self, answer: str) -> bool:
        """Whether ``answer`` is right."""
        match self.rule:
            case Rule.CONTAINS:
                return self.text.casefold() in answer.casefold()
            case Rule.REGEX:
                return re.search(self.text, answer, re.IGNORECASE) is not None
            case Rule.EXACT:
                return answer.strip(" .\n").casefold() == self.text.strip(" .\n").casefold()

    @classmethod
    def from_json(cls, value: Any, where: str) -> Check:
        """Read a check such as ``{"contains": "Paris"}``.

        Args:
            value: decoded JSON.
            where: place of the value, named in errors.

        Raises:
            ConfigError: the value is not an object with one known rule, or its regular expression
                is malformed.
        """
        if not isinstance(value, dict) or len(value) != 1:
            raise ConfigError(f'{where}: write one rule, as in {{"contains": "Paris"}}')
        ((name, text),) = value.items()
        if name not in set(Rule) or not isinstance(text, str):
            raise ConfigError(f"{where}: the rule must be one of {', '.join(Rule)}, with a string")
        if name == Rule.REGEX:
            try:
                re.compile(text)
            except re.error as error:
                raise ConfigError(f"{where}: {text!r} is no regular expression: {error}") from None
        return cls(Rule(name), text)


@dataclass(frozen=True, slots=True)
class SpokenQuestion:
    """A recording to be played into a call.

    Attributes:
        name: name of the question in the rows, usually its file.
        samples: float32 mono at 24 kHz.
        text: words of the question, if they are known.
        check: check of the answer, if there is one.
    """

    name: str
    samples: Samples
    text: str | None = None
    check: Check | None = None

    def at(self, rate: int) -> Samples:
        """Resample the recording to ``rate`` samples per second."""
        return resample(self.samples, WIRE_RATE, rate)


def read_questions(paths: Sequence[Path], note: Callable[[str], None]) -> list[SpokenQuestion]:
    """Read recordings with the words and checks in the files beside them.

    Args:
        paths: sound files, or directories of WAV files.
        note: called with a sentence about each conversion of a recording.

    Raises:
        AudioError: a recording cannot be read.
        ConfigError: a file beside a recording is malformed.
    """
    questions, own = [], bundled_questions()
    for path in _files(paths):
        recording = read_sound_file(path, WIRE_RATE)
        for line in recording.notes:
            note(line)
        text = _beside(path, WORDS_FILE).get(path.stem)
        check = _beside(path, ANSWERS_FILE).get(path.stem)
        where = f"{path.parent / ANSWERS_FILE}: {path.stem}"
        if text is not None and not isinstance(text, str):
            raise ConfigError(
                f"{path.parent / WORDS_FILE}: the words of {path.stem} must be a string"
            )
        questions.append(
            SpokenQuestion(
                # Names of bundled recordings are the same on every machine.
                path.name if path in own else str(path),
                recording.samples,
                text,
                None if check is None else Check.from_json(check, where),
            )
        )
    return questions


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.wav")) if path.is_dir() else [path]
        if not found:
            raise AudioError(f"{path}: there are no WAV files in this directory")
        files += found
    return files


def _beside(path: Path, name: str) -> dict[str, Any]:
    file = path.parent / name
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{file}: cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: this file must hold one JSON object, by file name")
    return content
