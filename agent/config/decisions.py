"""Settings of decisions: the questions, when they are asked, and what their answers do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agent.decision import SHIPPED, Action, Effect, Kind, Question, When

MOST_QUESTIONS = 32
_TEXT = 2000


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuestionSettings(_Section):
    """One question; its name is the key.

    Attributes:
        kind: ``yes_no``, ``choice``, ``score`` or ``extract``.
        text: the question, or the beginning of a note that the answer completes; a few words are
            fastest. A question with a head needs none.
        description: further words on how to answer.
        options: labels of a choice.
        low: lowest step of a score.
        high: highest step of a score.
        type: type of an extracted value: ``text``, ``integer``, ``number``, ``phone`` or ``email``.
        examples: pairs of a caller's words and the right answer, shown to the model.
        when: moments at which it is asked: ``turn``, ``pause``, ``end``, ``demand``.
    """

    kind: Kind = "yes_no"
    text: str = Field("", max_length=_TEXT)
    description: str = Field("", max_length=_TEXT)
    options: tuple[str, ...] = Field((), max_length=64)
    low: int = 1
    high: int = 5
    type: Literal["text", "integer", "number", "phone", "email"] = "text"
    examples: tuple[tuple[str, str], ...] = Field((), max_length=64)
    when: tuple[When, ...] = ("turn",)

    @model_validator(mode="after")
    def _has_answers(self) -> QuestionSettings:
        if self.kind == "choice" and len(set(self.options)) < 2:
            raise ValueError("a choice needs at least two different options")
        if self.kind == "score" and not 0 < self.high - self.low <= 20:
            raise ValueError("a score needs 1 to 20 steps from low to high")
        return self

    def question(self, name: str) -> Question:
        """The question of this name."""
        given = self.model_dump()
        return Question(name, **(given | {"text": self.text or name.replace("_", " ")}))


class ActionSettings(_Section):
    """An effect of an answer.

    Attributes:
        question: name of the question.
        answer: label that brings it about, such as ``yes``; ``*`` for any value of an extraction.
        probability: least probability of that label, 0 to 1.
        do: ``event``, ``tag``, ``say``, ``end_reply``, ``instructions``, ``tool``, ``transfer`` or
            ``hang_up``.
        say: words that are spoken, with ``say``, ``transfer`` and ``hang_up``.
        to: destination of ``transfer``, text of ``instructions``, or name of the function of
            ``tool``.
    """

    question: str
    answer: str = "yes"
    probability: float = Field(0.8, ge=0, le=1)
    do: Effect = "event"
    say: str = Field("", max_length=1000)
    to: str = Field("", max_length=32_768)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> ActionSettings:
        if self.do in ("transfer", "instructions", "tool") and not self.to.strip():
            raise ValueError(f"{self.do} needs `to`")
        if self.do == "say" and not self.say.strip():
            raise ValueError("say needs words in `say`")
        return self


class DecisionSettings(_Section):
    """Questions about each call, answered by the model that replies or by English phrases.

    Attributes:
        ask: names of questions that are asked, of those that are shipped (docs/decisions.md).
        questions: questions of your own by name, all of which are asked.
        actions: what answers do besides the event.
        heads: files of `onebreath adapt decisions`, for questions that then need no pass.
        timeout: seconds after which a decision is given up.
        end_seconds: seconds that the questions at the end of a call may take.
    """

    ask: tuple[str, ...] = ()
    questions: dict[str, QuestionSettings] = {}
    actions: tuple[ActionSettings, ...] = Field((), max_length=64)
    heads: tuple[Path, ...] = ()
    timeout: float = Field(2.0, gt=0, le=30)
    end_seconds: float = Field(2.0, ge=0, le=10)

    @model_validator(mode="after")
    def _names_are_known(self) -> DecisionSettings:
        unknown = [name for name in self.ask if name not in SHIPPED and name not in self.questions]
        if unknown:
            raise ValueError(
                f"there is no question {unknown[0]!r}; there are {', '.join(SHIPPED)}, and your "
                "own in decisions.questions"
            )
        asked = {question.name: question for question in self.asked}
        if len(asked) > MOST_QUESTIONS:
            raise ValueError(f"{len(asked)} questions: at most {MOST_QUESTIONS} are asked")
        for action in self.actions:
            question = asked.get(action.question)
            if question is None:
                raise ValueError(
                    f"an action names the question {action.question!r}, which is not asked: add "
                    "it to decisions.ask or decisions.questions"
                )
            if question.kind != "extract" and action.answer not in question.labels:
                known = ", ".join(question.labels)
                raise ValueError(f"{action.answer!r} is no answer of {question.name}: {known}")
        return self

    @property
    def asked(self) -> tuple[Question, ...]:
        """All questions, the shipped ones first; one of your own replaces a shipped one."""
        shipped = [SHIPPED[name] for name in self.ask if name not in self.questions]
        own = [settings.question(name) for name, settings in self.questions.items()]
        return (*dict.fromkeys(shipped), *own)

    @property
    def effects(self) -> tuple[Action, ...]:
        """The actions as the session uses them."""
        return tuple(Action(**action.model_dump()) for action in self.actions)
