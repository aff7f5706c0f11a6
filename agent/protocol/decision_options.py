"""Reader of the questions of ``onebreath.decide``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from agent.decision import Kind, Question
from agent.protocol.client_schema import Lenient
from agent.protocol.problems import bad_value, checked
from agent.session.events import DecideNow

Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class GivenQuestion(Lenient):
    """A question of the client's own."""

    name: str = Field(min_length=1, max_length=64)
    kind: Kind = "yes_no"
    text: str = Field("", max_length=1000)
    description: str = Field("", max_length=500)
    options: list[Label] = Field([], max_length=64)
    low: int = Field(1, ge=-1000, le=1000)
    high: int = Field(5, ge=-1000, le=1000)
    type: Literal["text", "integer", "number", "phone", "email"] = "text"

    @model_validator(mode="after")
    def _has_answers(self) -> GivenQuestion:
        labels = {label.strip() for label in self.options}
        if self.kind == "choice" and (len(labels) < 2 or len(labels) < len(self.options)):
            raise ValueError("a choice needs at least two options, all different")
        if self.kind == "score" and not 0 < self.high - self.low <= 20:
            raise ValueError("a score needs 1 to 20 steps from low to high")
        return self


def read_questions(given: Sequence[Any]) -> DecideNow:
    """Questions by name, and questions of the client's own.

    Raises:
        BadEvent: one is neither a name nor a question, or two have the same name.
    """
    names, own = list[str](), list[Question]()
    for number, each in enumerate(given):
        if isinstance(each, str):
            names.append(each[:64])
            continue
        found = checked(GivenQuestion, each, f"questions[{number}]")
        fields = found.model_dump() | {"options": tuple(found.options)}
        fields["text"] = found.text.strip() or found.name.replace("_", " ")
        own.append(Question(**fields))
    every = [*names, *(question.name for question in own)]
    if len(set(every)) < len(every):
        raise bad_value("questions", "two questions have the same name")
    return DecideNow(tuple(names), tuple(own))
