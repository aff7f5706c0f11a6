"""Labelled examples of questions about a caller's words, read from JSON lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dllm_core.errors import DataError
from dllm_core.json_lines import read_rows

QUESTION = "intent"
"""Name of the question of rows that name none."""
LEAST = 5
"""Fewest examples of an answer."""


@dataclass(frozen=True, slots=True)
class DecisionExample:
    """Words of a caller and the right answer to one question about them.

    Attributes:
        question: name of the question.
        asked: what the agent had said before; empty at the start of a call.
    """

    words: str
    question: str
    answer: str
    asked: str = ""


def read_decision_examples(files: Sequence[Path]) -> list[DecisionExample]:
    """Examples from JSON lines with `text` and `answer`, and perhaps `question` and `asked`.

    `answers` may stand for both, an object of the answers by question; `words` or `prompt` for
    `text`, `label` or `intent` for `answer`. A true or false answer is yes or no.

    Raises:
        DataError: a row has no words or no answer, or an answer has fewer than 5 examples.
    """
    found = [
        example
        for file in files
        for number, row in read_rows(file)
        for example in _examples(row, f"{file}, line {number}")
    ]
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for example in found:
        counts[example.question, example.answer] += 1
    for (question, answer), count in counts.items():
        if count < LEAST:
            raise DataError(
                f"The answer {answer!r} of {question!r} has {count} examples: give at least "
                f"{LEAST}."
            )
        if sum(known == question for known, _ in counts) < 2:
            raise DataError(
                f"All examples of {question!r} have the answer {answer!r}: give examples of "
                "another answer, such as words about something else."
            )
    if not found:
        raise DataError("There are no examples: give JSON lines with `text` and `answer`.")
    return found


def _examples(row: Mapping[str, Any], place: str) -> list[DecisionExample]:
    words = _first(row, "text", "words", "prompt")
    answers = row.get("answers")
    if answers is None:
        answers = {row.get("question") or QUESTION: _first(row, "answer", "label", "intent")}
    known = isinstance(words, str) and words.strip() and isinstance(answers, Mapping) and answers
    if not known or any(answer is None or not str(answer).strip() for answer in answers.values()):
        raise DataError(f"{place}: a row needs `text` and `answer`.")
    asked = str(row.get("asked") or "")
    return [
        DecisionExample(str(words).strip(), str(question), _label(answer), asked)
        for question, answer in answers.items()
    ]


def _label(answer: Any) -> str:
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    return str(answer).strip()


def _first(row: Mapping[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
