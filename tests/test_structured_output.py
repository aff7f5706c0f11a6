"""Replies that are documents of a JSON schema, and questions on demand: wire, session, engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.chat_server import Answer as ChatAnswer
from test_engine_tools import call_of, chatting
from test_protocol import FACTS
from test_responder_tools import hosted

from agent.compute import Compute
from agent.decision import Answer
from agent.protocol import EventWriter, parse
from agent.protocol.problems import BadEvent
from agent.reply import Message, ReplyOptions
from agent.responders.base import (
    CanvasStep,
    Prefilled,
    ReplyDone,
    ReplyPiece,
    ReplyText,
    ResponderError,
)
from agent.responders.computed import ComputedCall
from agent.session.events import DecideNow, RespondNow
from agent.session.notices import DecisionMade

jsonschema = pytest.importorskip("jsonschema")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "intent": {"enum": ["booking", "billing"]},
        "guests": {"type": "integer", "minimum": 1, "maximum": 20},
        "note": {"type": "string", "maxLength": 20},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        "on": {"type": "string", "format": "date"},
    },
    "required": ["intent", "guests", "note", "tags", "on"],
    "additionalProperties": False,
}
ASKED = [Message("system", "be short"), Message("user", "a table for four")]


def create(**response: Any) -> RespondNow:
    body = {"type": "response.create", "response": {"conversation": "none", **response}}
    (found,) = parse(json.dumps(body))
    assert isinstance(found, RespondNow)
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}},
        {"text": {"format": {"type": "json_schema", "schema": SCHEMA, "strict": True}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
)
def test_a_schema_is_read_however_clients_send_it(fields: dict[str, Any]) -> None:
    request = create(output_modalities=["text"], **fields)
    assert request.schema == SCHEMA
    assert request.apart
    assert request.text_only


def test_a_document_is_never_spoken() -> None:
    wish = {"type": "json_schema", "schema": SCHEMA}
    assert create(output_modalities=["audio"], response_format=wish).text_only
    assert create(response_format={"type": "text"}).schema is None
    assert create(text={"format": {"type": "text"}, "verbosity": "low"}).text_only is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "response.response_format"),
        ({"response_format": {"type": "xml"}}, "response.response_format.type"),
        ({"response_format": 7}, "response.response_format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "response.text.format.schema"),
        (
            {"text": {"format": {"type": "json_schema", "schema": {"type": "poem"}}}},
            "response.text.format.schema",
        ),
        (
            {"text": {"format": {"type": "json_schema", "schema": {"title": "x" * 40_000}}}},
            "response.text.format.schema",
        ),
    ],
)
def test_what_is_no_schema_is_an_error_with_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadEvent) as raised:
        create(**fields)
    assert raised.value.trouble.param == param


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["causal", "bidirectional"])
def test_the_engine_writes_a_valid_document_slot_by_slot(kind: str) -> None:
    call = call_of(chatting(kind))
    first, *pieces, text, done = call.reply_with(ASKED, ReplyOptions(schema=SCHEMA))
    assert isinstance(first, Prefilled)
    assert isinstance(text, ReplyText)
    assert isinstance(done, ReplyDone)
    assert len(pieces) >= len(SCHEMA["required"])
    assert all(isinstance(piece, CanvasStep) for piece in pieces)
    jsonschema.validate(json.loads(text.text), SCHEMA)
    assert done.text == text.text


def test_the_conversation_goes_on_as_before_after_a_document() -> None:
    alone = list(call_of(chatting()).reply_with(ASKED, ReplyOptions()))[-1]
    call = call_of(chatting())
    list(call.reply_with(ASKED, ReplyOptions(schema=SCHEMA)))
    abandoned = call.reply_with(ASKED, ReplyOptions(schema=SCHEMA))
    for _ in range(3):
        next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    assert list(call.reply_with(ASKED, ReplyOptions()))[-1].text == alone.text  # type: ignore[union-attr]


def test_a_keyword_that_cannot_be_guaranteed_fails_that_reply_with_a_sentence() -> None:
    schema = {"type": "object", "properties": {"a": {"pattern": "x"}}}
    with pytest.raises(ResponderError, match="'pattern' at #/properties/a"):
        list(call_of(chatting()).reply_with(ASKED, ReplyOptions(schema=schema)))


def test_a_responder_that_only_speaks_says_so() -> None:
    class Speaking:
        def reply(self, messages: object, deadline: float | None = None) -> list[ReplyPiece]:
            return []

    compute = Compute()
    try:
        with pytest.raises(ResponderError, match="no documents"):
            ComputedCall(Speaking(), compute).reply(ASKED, None, ReplyOptions(schema=SCHEMA))  # type: ignore[arg-type]
    finally:
        compute.close()


async def test_a_hosted_model_is_asked_for_the_schema() -> None:
    answer = ChatAnswer(["{}"])
    _, body = await hosted(answer, ASKED, ReplyOptions(schema=SCHEMA))
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert body["response_format"]["type"] == "json_schema"


# ---- questions on demand ---------------------------------------------------------------


def decide(*questions: Any) -> DecideNow:
    (found,) = parse(json.dumps({"type": "onebreath.decide", "questions": list(questions)}))
    assert isinstance(found, DecideNow)
    return found


def test_questions_come_by_name_or_whole() -> None:
    mood = {"name": "mood", "kind": "choice", "options": ["good", "bad"], "more": 1}
    found = decide("human", mood)
    assert found.names == ("human",)
    assert (found.questions[0].text, found.questions[0].options) == ("mood", ("good", "bad"))
    assert decide() == DecideNow()


@pytest.mark.parametrize(
    "questions",
    [
        [7],
        [{}],
        [{"name": "a", "kind": "poem"}],
        [{"name": "a", "kind": "choice", "options": ["x"]}],
        [{"name": "a", "kind": "choice", "options": ["x", " x"]}],
        [{"name": "a", "kind": "score", "low": 5, "high": 1}],
        ["a", {"name": "a"}],
        ["a"] * 33,
    ],
)
def test_bad_questions_are_an_error(questions: list[Any]) -> None:
    with pytest.raises(BadEvent):
        decide(*questions)


def test_decisions_are_written_for_clients_that_ask() -> None:
    answer = Answer("mood", "good", "good", 0.8, {"good": 0.8, "bad": 0.2}, by="head")
    made = DecisionMade("item_1", "turn", (answer,), 1.5, ("x",), ("tag",))
    assert list(EventWriter(FACTS).write(made)) == []
    (event,) = EventWriter(FACTS, own_events=True).write(made)
    assert event["type"] == "onebreath.decision"
    assert event["decisions"][0] | {"mean": None} == {
        "name": "mood",
        "value": "good",
        "label": "good",
        "probability": 0.8,
        "probabilities": {"good": 0.8, "bad": 0.2},
        "mean": None,
        "by": "head",
    }
    assert (event["item_id"], event["when"], event["tags"]) == ("item_1", "turn", ["x"])
