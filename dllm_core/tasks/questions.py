"""Typed questions about a conversation: yes or no, a choice, a score, a value out of the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dllm_core.errors import OptionError
from dllm_core.tasks.values import ValueType, candidates

MOST_QUESTIONS = 32
"""Most questions of one pass."""
MOST_LABELS = 64
"""Most labels of a question."""
LONGEST_TEXT = 2000
"""Most characters of a question with its description and examples."""
LONGEST_SCALE = 20
"""Most steps of a score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The common part of all questions; use one of the subclasses.

    Attributes:
        name: name of the answer; unique among the questions of a pass.
        text: the question, such as "Does the caller want a human?", or the beginning of a note
            that the answer completes, such as "The caller wants a human". Short ones are faster:
            each token is a row of the pass.
        description: further words on how to answer; empty for none.
        examples: (words of a caller, answer) pairs that the model is shown.
    """

    name: str
    text: str
    description: str = ""
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers that are known beforehand."""
        raise NotImplementedError

    def answers(self, words: str) -> tuple[str, ...]:
        """All possible answers, given the caller's words."""
        return self.labels

    def value(self, label: str, words: str) -> Any:
        """The typed value of an answer."""
        return label

    @property
    def prompt(self) -> str:
        """The text that stands between the conversation and the answer."""
        text = self.text.strip()
        head = f"{text} ({self.description.strip()})" if self.description.strip() else text
        shown = "".join(f' "{words}": {answer}.' for words, answer in self.examples)
        closing = " Answer:" if shown or text.endswith(("?", ".", "!")) else ":"
        return head + shown + closing

    def check(self) -> None:
        """Refuse a question that cannot be asked.

        Raises:
            OptionError: the sentence names the question and what is wrong with it.
        """
        if not self.name.strip() or not self.text.strip():
            raise OptionError(f"The question {self.name!r} needs a name and a text.")
        if len(self.prompt) > LONGEST_TEXT:
            raise OptionError(
                f"The question {self.name!r} has {len(self.prompt)} characters with its "
                f"description and examples; at most {LONGEST_TEXT} are read."
            )
        _check_labels(self.name, self.labels)
        unknown = [answer for _, answer in self.examples if not self.takes(answer)]
        if unknown:
            raise OptionError(
                f"An example of the question {self.name!r} has the answer {unknown[0]!r}, which "
                f"is not one of its labels."
            )

    def takes(self, answer: str) -> bool:
        """Whether this may be the answer of an example."""
        return answer in self.labels


def _check_labels(name: str, labels: Sequence[str]) -> None:
    if not 0 < len(labels) <= MOST_LABELS:
        raise OptionError(
            f"The question {name!r} has {len(labels)} labels: give 1 to {MOST_LABELS}."
        )
    if any(not label.strip() for label in labels):
        raise OptionError(f"The question {name!r} has an empty label.")
    if len({label.strip() for label in labels}) < len(labels):
        raise OptionError(f"The question {name!r} has the same label twice.")
    longest = max(labels, key=len)
    if len(longest) > LONGEST_TEXT // 10:
        raise OptionError(
            f"A label of the question {name!r} has {len(longest)} characters; at most "
            f"{LONGEST_TEXT // 10} are read."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class YesNo(Question):
    """A question whose value is True or False."""

    @property
    def labels(self) -> tuple[str, ...]:
        return ("yes", "no")

    def value(self, label: str, words: str) -> bool:
        return label == "yes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Question):
    """A question whose value is one of the labels.

    Attributes:
        options: the labels, of one or several tokens each; at least two.
    """

    options: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.options)

    def check(self) -> None:
        Question.check(self)
        if len(self.options) < 2:
            raise OptionError(f"The question {self.name!r} needs two labels to choose from.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Question):
    """A question whose value is a whole number on a scale; `Answer.mean` is between the steps.

    Attributes:
        low, high: the ends of the scale, at most 20 apart.
    """

    low: int = 1
    high: int = 5

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(str(step) for step in range(self.low, self.high + 1))

    def value(self, label: str, words: str) -> int:
        return int(label)

    def check(self) -> None:
        if not 0 < self.high - self.low <= LONGEST_SCALE:
            raise OptionError(
                f"The scale of the question {self.name!r} goes from {self.low} to {self.high}: "
                f"it needs 1 to {LONGEST_SCALE} steps upwards."
            )
        Question.check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract(Question):
    """A question whose value stands in the caller's words, or is None.

    Attributes:
        type: `text` (up to four words in a row), `integer`, `number`, `phone` or `email`.
    """

    type: ValueType = "text"

    @property
    def labels(self) -> tuple[str, ...]:
        return (NOTHING,)

    def answers(self, words: str) -> tuple[str, ...]:
        found = candidates(words, self.type)
        return (NOTHING, *(text for text in found if text != NOTHING))

    def value(self, label: str, words: str) -> Any:
        return None if label == NOTHING else candidates(words, self.type)[label]

    def takes(self, answer: str) -> bool:
        return bool(answer.strip())


NOTHING = "none"
"""Answer of an extraction without a value."""


def check_questions(questions: Sequence[Question]) -> None:
    """Refuse a list of questions that cannot be asked in one pass.

    Raises:
        OptionError: there are none or too many, two share a name, or one is wrong by itself.
    """
    if not questions:
        raise OptionError("There is no question to decide: give at least one.")
    if len(questions) > MOST_QUESTIONS:
        raise OptionError(
            f"{len(questions)} questions do not fit one pass: ask at most {MOST_QUESTIONS}."
        )
    for question in questions:
        question.check()
    names = [question.name for question in questions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"Two questions have the name {twice!r}: answers are found by name.")
