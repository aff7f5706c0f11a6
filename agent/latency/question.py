"""What is asked: a recording, the words in it, and what a right answer must hold."""

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
"""Beside recordings: their words, by file name without suffix."""
ANSWERS_FILE = "answers.json"
"""Beside recordings: a check of the answer to each."""


class Rule(StrEnum):
    """How an answer is compared. Upper and lower case are the same to all of them."""

    CONTAINS = "contains"
    """The text is somewhere in the answer."""
    REGEX = "regex"
    """The regular expression is found in the answer."""
    EXACT = "exact"
    """The answer is the text, but for white space and a full stop at its ends."""


@dataclass(frozen=True, slots=True)
class Check:
    """What makes an answer right."""

    rule: Rule
    text: str

    def passes(self, answer: str) -> bool:
        match self.rule:
            case Rule.CONTAINS:
                return self.text.casefold() in answer.casefold()
            case Rule.REGEX:
                return re.search(self.text, answer, re.IGNORECASE) is not None
            case Rule.EXACT:
                return answer.strip(" .\n").casefold() == self.text.strip(" .\n").casefold()

    @classmethod
    def from_json(cls, value: Any, where: str) -> Check:
        """Read ``{"contains": "Paris"}``.

        Raises:
            ConfigError: it is something else.
        """
        if not isinstance(value, dict) or len(value) != 1:
            raise ConfigError(f'{where}: write one rule, as in {{"contains": "Paris"}}')
        ((name, text),) = value.items()
        if name not in set(Rule) or not isinstance(text, str):
            raise ConfigError(f"{where}: the rule is one of {', '.join(Rule)}, with a text")
        if name == Rule.REGEX:
            try:
                re.compile(text)
            except re.error as error:
                raise ConfigError(f"{where}: {text!r} is no regular expression: {error}") from None
        return cls(Rule(name), text)


@dataclass(frozen=True, slots=True)
class Question:
    """A recording to be played into the call."""

    name: str
    samples: Samples
    """float32 mono at 24 kHz."""
    text: str | None = None
    """The words in it."""
    check: Check | None = None

    def at(self, rate: int) -> Samples:
        """The recording at another rate."""
        return resample(self.samples, WIRE_RATE, rate)


def read_questions(paths: Sequence[Path], note: Callable[[str], None]) -> list[Question]:
    """Read recordings, with the words and checks that lie beside them.

    Args:
        paths: sound files, or directories of WAV files.
        note: told what was converted on the way.

    Raises:
        AudioError: a file cannot be used.
        ConfigError: a file beside it is malformed.
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
            raise ConfigError(f"{path.parent / WORDS_FILE}: the words of {path.stem} are no text")
        questions.append(
            Question(
                # Rows of the bundled recordings are read on other machines, too.
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
        raise ConfigError(f"{file}: this must be one JSON object, by file name")
    return content
