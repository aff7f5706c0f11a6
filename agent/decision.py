"""The questions that are asked about a call, and their answers.

They pass through settings, session, responders and the wire; `agent.responders.engine_decisions`
asks them of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

When = Literal["turn", "pause", "end", "demand"]
"""The moments at which a question is asked: after each turn of the caller, at each pause within
one, at the end of the call, or when a client asks."""
Kind = Literal["yes_no", "choice", "score", "extract"]
Effect = Literal[
    "event", "tag", "say", "end_reply", "instructions", "tool", "transfer", "hang_up"
]  # fmt: skip
"""What an answer brings about; see docs/decisions.md."""
NOTHING: Final = "none"
"""Label of an extraction without a value."""


@dataclass(frozen=True, slots=True)
class Question:
    """A typed question about the conversation.

    Attributes:
        name: name of the answer.
        kind: ``yes_no``, ``choice``, ``score`` or ``extract``.
        text: the question, or the beginning of a note that the answer completes.
        description: further words on how to answer.
        options: the labels of a choice.
        low, high: the ends of the scale of a score.
        type: type of an extracted value: ``text``, ``integer``, ``number``, ``phone``, ``email``.
        examples: (words of a caller, answer) pairs that the model is shown.
        when: the moments at which it is asked.
    """

    name: str
    kind: Kind = "yes_no"
    text: str = ""
    description: str = ""
    options: tuple[str, ...] = ()
    low: int = 1
    high: int = 5
    type: str = "text"
    examples: tuple[tuple[str, str], ...] = ()
    when: tuple[When, ...] = ("turn",)

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers that are known beforehand; of an extraction only that there is none."""
        match self.kind:
            case "yes_no":
                return ("yes", "no")
            case "choice":
                return self.options
            case "score":
                return tuple(map(str, range(self.low, self.high + 1)))
            case _:
                return (NOTHING,)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Attributes:
        name: name of the question.
        value: bool, label, whole number, or a value out of the words or None.
        label: the value as a label: ``yes``, ``no``, the option, the number or the words.
        probability: its probability, 0 to 1.
        probabilities: probability of every label; they add up to 1.
        mean: mean of a score; None for other questions.
        by: what answered: ``rule`` (English phrases), ``head`` (the prompt cache) or ``model``
            (a forward pass).
        said: whether the label is words of the caller's.
    """

    name: str
    value: Any
    label: str
    probability: float
    probabilities: Mapping[str, float] = field(hash=False)
    mean: float | None = None
    by: Literal["rule", "head", "model"] = "model"
    said: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """An effect of an answer.

    Attributes:
        question: name of the question.
        answer: the label that brings it about; ``*`` for any value of an extraction.
        probability: least probability of that label.
        do: the effect.
        say: words that are spoken with it.
        to: destination of a transfer, text of new instructions, or name of a function.
    """

    question: str
    answer: str = "yes"
    probability: float = 0.8
    do: Effect = "event"
    say: str = ""
    to: str = ""

    def fits(self, answer: Answer) -> bool:
        """Whether the answer brings the action about."""
        if answer.name != self.question or answer.probability < self.probability:
            return False
        return answer.label == self.answer or (self.answer == "*" and answer.value is not None)


_END: Final[tuple[When, ...]] = ("end",)
_LANGUAGES: Final = ("English", "Spanish", "German", "French", "Italian", "Portuguese")
SHIPPED: Final[dict[str, Question]] = {
    question.name: question
    for question in (
        Question("opt_out", text="Never call again"),
        Question("human", text="Wants a human"),
        Question("voicemail", text="Voicemail greeting"),
        Question("hold", text="On hold"),
        Question("frustrated", text="Frustrated"),
        Question("off_topic", text="Off topic"),
        Question("language", "choice", "Language", options=_LANGUAGES),
        Question("resolved", text="Problem solved", when=_END),
        Question("follow_up", text="Wants to be called back", when=_END),
        Question("satisfaction", "score", "Satisfaction", when=_END),
        Question("caller_number", "extract", "Phone number", type="phone", when=_END),
        Question("caller_email", "extract", "E-mail address", type="email", when=_END),
    )
}
"""Questions that need no settings but their name in ``decisions.ask``."""
