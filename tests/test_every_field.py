"""Every field of every client event, as openai-python's types have them: applied, or told of.

The values are made from the types, so that a field of a newer version is tried as soon as it is
there.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from typing import Any

import openai.types.beta.realtime as beta
import openai.types.realtime as api
import pytest
from openai import BaseModel
from test_session_settings import ABLE, TOOL
from test_standard_client import client

from agent.protocol import BadEvent, ClientEvents, Reading
from agent.protocol.client_schema import EVENTS
from agent.session.events import Configure, CreateItem, RespondNow

SOUND = "AAAAAAAA"
TEXTS = {
    "name": TOOL["name"],
    "audio": SOUND,
    "arguments": "{}",
    "language": "de",
    "tool_choice": "required",
}
"""Texts by the name of their field, where not any text makes sense."""
NEEDED = {"name"}
"""Fields that the types allow to leave out, and the API does not."""


def values(kind: Any, name: str = "") -> Iterator[Any]:
    """Values of a type; of an object, some for each of its fields."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        for each in inner:
            yield from values(each, name)
    elif origin is typing.Annotated:
        yield from values(inner[0], name)
    elif origin is typing.Literal:
        yield from inner
    elif origin is list:
        yield from ([each] for each in values(inner[0], name))
    elif origin is dict:
        yield {"a": "b"}
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from objects(kind)
    elif kind is not type(None):
        plain = {str: TEXTS.get(name, "text"), int: 6000, float: 0.75, bool: True}
        yield plain.get(kind, {"type": "object"})


def objects(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Objects of a model, each with the fields that it needs and a value of one more."""
    needed = {
        name: next(values(field.annotation, name))
        for name, field in model.model_fields.items()
        if field.is_required() or name in NEEDED
    }
    for name, field in model.model_fields.items():
        for value in values(field.annotation, name):
            yield {**needed, name: value}


def read(kind: str, **body: Any) -> Any:
    (message,) = ClientEvents(Reading(ABLE)).parse(json.dumps({"type": kind, **body}))
    return getattr(message, "input", message)


def shown(value: Any) -> str:
    return json.dumps(value)[:100]


# ---- session.update --------------------------------------------------------------------

SESSIONS = [
    *objects(api.RealtimeSessionCreateRequest),
    *objects(api.RealtimeTranscriptionSessionCreateRequest),
    *objects(beta.session_update_event.Session),
]


@pytest.mark.parametrize("session", SESSIONS, ids=shown)
def test_a_field_of_a_session_is_applied_or_told_of_and_refuses_nothing(session):
    base = {"type": "realtime", "tools": [TOOL], "instructions": "Be kind."}
    change = read("session.update", session={**base, **session})
    assert isinstance(change, Configure)
    assert change.instructions == session.get("instructions", "Be kind.")
    if session != {"type": "realtime"} and "client_secret" not in session:
        assert change != read("session.update", session=base)


# ---- response.create -------------------------------------------------------------------

RESPONSES = list(objects(api.RealtimeResponseCreateParams))


@pytest.mark.parametrize("response", RESPONSES, ids=shown)
def test_a_field_of_a_reply_is_applied_or_told_of_and_refuses_nothing(response):
    base = {"tools": [TOOL], "instructions": "Be kind."}
    if SOUND in json.dumps(response.get("input", "")):
        with pytest.raises(BadEvent, match="sound"):
            read("response.create", response={**base, **response})
        return
    wish = read("response.create", response={**base, **response})
    assert isinstance(wish, RespondNow)
    assert wish.instructions == response.get("instructions", "Be kind.")
    if response.get("conversation") not in ("auto", "text"):
        assert wish != read("response.create", response=base)


# ---- conversation.item.create ----------------------------------------------------------

WHY_NOT = {
    '"detail"': "no input_image",
    '"input_image"': "no input_image",
    '"image_url"': "no input_image",
    "mcp_": "unknown item type",
}
"""Why an item cannot be created, by a part of it."""


@pytest.mark.parametrize("item", list(values(api.ConversationItem)), ids=shown)
def test_an_item_is_created_or_the_error_says_why_not(item):
    text = json.dumps(item)
    why = next((why for part, why in WHY_NOT.items() if part in text), None)
    if why is None and item.get("role") == "assistant" and SOUND in text:
        why = "needs a transcript"
    if why is None:
        assert isinstance(read("conversation.item.create", item=item), CreateItem)
        return
    with pytest.raises(BadEvent, match=why):
        read("conversation.item.create", item=item)


WORDS = {"type": "input_text", "text": "how are you"}
PICTURES = (
    {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
    {"image_url": "data:image/png;base64,AAAA"},
    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    {"type": "input_file", "file_id": "file_1"},
)


@pytest.mark.parametrize("other", PICTURES, ids=shown)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_parts_that_are_not_understood_leave_the_others(other, first):
    content = [other, WORDS] if first else [WORDS, other]
    made = read("conversation.item.create", item={"role": "user", "content": content}).item
    assert made.text == "how are you"
    assert f"item.content[{0 if first else 1}].type" in made.left_out[0]


async def test_a_picture_beside_words_is_told_of_and_the_words_are_answered():
    async with client(query="?onebreath=1") as it:
        item = {"type": "message", "role": "user", "content": [WORDS, PICTURES[0]]}
        await it.send("conversation.item.create", item=item)
        notice = await it.until("onebreath.notice")
        assert notice["code"] == "content_ignored"
        assert "input_image" in notice["message"]
        added = await it.until("conversation.item.added")
        assert added["item"]["content"] == [WORDS]
        await it.send("response.create")
        done = await it.until("response.done")
        assert done["response"]["output"][0]["content"][0]["transcript"] == "Fine."


def test_what_a_function_returns_beside_text_is_left_out():
    output = [{"type": "input_text", "text": "3 C"}, PICTURES[0]]
    item = {"type": "function_call_output", "call_id": "call_1", "output": output}
    made = read("conversation.item.create", item=item).item
    assert (made.text, len(made.left_out)) == ("3 C", 1)
    made = read("conversation.item.create", item={**item, "output": [PICTURES[0]]}).item
    assert (made.text, len(made.left_out)) == ("", 1)


def test_a_refusal_of_the_agent_is_a_message_without_words():
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert read("conversation.item.create", item=refused).item.text == ""


def test_items_of_other_kinds_leave_the_input_of_a_reply():
    mcp = {"type": "mcp_list_tools", "server_label": "files", "tools": []}
    picture = {"type": "message", "role": "user", "content": [PICTURES[0]]}
    words = {"type": "message", "role": "user", "content": [WORDS]}
    wish = read("response.create", response={"input": [mcp, picture, words]})
    assert [item.text for item in wish.items] == ["how are you"]
    assert [told[:17] for told in wish.ignored] == ["response.input[0]", "response.input[1]"]


# ---- forms of the same -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "echoed"),
    [
        ({"topic": "x"}, {"topic": "x"}),
        ({"n": 7, "f": 0.5}, {"n": "7", "f": "0.5"}),
        ({"yes": True, "no": None}, {"yes": "true"}),
        ({}, {}),
    ],
)
async def test_metadata_are_texts(given, echoed):
    async with client() as it:
        await it.type_text("how are you")
        await it.send("response.create", response={"metadata": given})
        assert (await it.until("response.created"))["response"]["metadata"] == echoed


@pytest.mark.parametrize("kind", ["session.update", "response.create"])
def test_a_choice_of_a_function_that_is_left_out_is_left_out(kind):
    def refuses(tool):
        return "# too deep" if tool.name == "deep" else None

    reading = Reading(type(ABLE)(True, "smol", "whisper", "en", "joe", refuses))
    field = kind.partition(".")[0]
    for choice in ({"type": "function", "name": "deep"}, {"function": {"name": "deep"}}):
        body = {"tools": [{**TOOL, "name": "deep"}, TOOL], "tool_choice": choice}
        (change,) = ClientEvents(reading).parse(json.dumps({"type": kind, field: body}))
        assert [tool.name for tool in change.tools] == ["get_weather"]
        assert change.tool_choice is None
        assert f"{field}.tool_choice" in change.ignored[-1]
    with pytest.raises(BadEvent, match="there is no function 'fly'"):
        read(kind, **{field: {"tools": [TOOL], "tool_choice": {"name": "fly"}}})


def test_fields_inside_of_others_that_mean_nothing_here_are_told_of():
    hears = {"transcription": {"model": "whisper", "keywords": ["Oslo"]}}
    change = read("session.update", session={"audio": {"input": hears}})
    assert change.ignored == ("session.audio.input.transcription.keywords",)


def test_every_client_event_of_the_types_is_known():
    (union, _) = typing.get_args(api.RealtimeClientEvent)
    for event in typing.get_args(union):
        (name,) = typing.get_args(event.model_fields["type"].annotation)
        assert name in EVENTS


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("conversation.item.retrieve", {"item_id": "none"}, "item_retrieve_invalid_item_id"),
        ("conversation.item.delete", {"item_id": "none"}, "item_delete_invalid_item_id"),
        (
            "conversation.item.truncate",
            {"item_id": "none", "content_index": 0, "audio_end_ms": 10},
            "item_truncate_invalid_item_id",
        ),
        (
            "conversation.item.truncate",
            {"item_id": "asked", "content_index": 9, "audio_end_ms": 10},
            "item_truncate_invalid_item_id",
        ),
        ("conversation.item.truncate", {"item_id": "asked", "audio_end_ms": -1}, "invalid_value"),
        ("response.cancel", {"response_id": "none"}, "response_cancel_not_active"),
        ("input_audio_buffer.commit", {}, "input_audio_buffer_commit_empty"),
        ("input_audio_buffer.append", {"audio": None}, "invalid_type"),
    ],
    ids=shown,
)
async def test_an_event_about_nothing_is_an_error_with_its_id(kind, body, code):
    async with client() as it:
        await it.type_text("how are you", id="asked")
        await it.send(kind, event_id="ev_1", **body)
        error = await it.error()
        assert (error["code"], error["event_id"]) == (code, "ev_1")


@pytest.mark.parametrize("kind", ["input_audio_buffer.clear", "output_audio_buffer.clear"])
async def test_nothing_to_clear_is_no_mistake(kind):
    async with client() as it:
        await it.send(kind)
        await it.type_text("how are you")
        await it.until("conversation.item.done")
    assert "error" not in it.kinds()
