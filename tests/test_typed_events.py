"""Every event of whole calls against the official client's own types, read without leniency."""

import asyncio
import json
import typing
from contextlib import asynccontextmanager

import openai.types.realtime as api
import pytest
from support.fakes import silence, speech
from test_server import WIRE, append, dial, server
from test_session_settings import TOOL
from test_standard_client import ANSWERS, CALL, Client

UNKNOWN_TO_THE_TYPES = {
    # The types of openai-py leave these fields out, though the API sends them.
    "session.created": {"id", "object", "expires_at"},
    "session.updated": {"id", "object", "expires_at"},
}


def _event_types():
    union = typing.get_args(api.RealtimeServerEvent)[0]
    types = {}
    for event in typing.get_args(union):
        (name,) = typing.get_args(event.model_fields["type"].annotation)
        types[name] = event
    return types


TYPES = _event_types()


def unknown_fields(value):
    """The fields of a typed event, at any depth, that its type does not have."""
    if isinstance(value, list):
        return {name for each in value for name in unknown_fields(each)}
    if not hasattr(value, "model_extra"):
        return set()
    known = (getattr(value, name) for name in type(value).model_fields)
    return set(value.model_extra or {}) | {n for each in known for n in unknown_fields(each)}


def assert_typed(events):
    """Each event is of its type, strictly, and has no field that the type does not know."""
    for event in events:
        typed = TYPES[event["type"]].model_validate_json(json.dumps(event), strict=True)
        left = unknown_fields(typed) - UNKNOWN_TO_THE_TYPES.get(event["type"], set())
        assert not left, (event["type"], left)


def _answer(words):
    if "break" in words:
        raise RuntimeError("the model is gone")
    return next((line for part, line in ANSWERS.items() if part in words), "Fine.")


@asynccontextmanager
async def typed_client(*heard, query=""):
    async with (
        server(*heard, answers=_answer) as (address, _),
        dial(address, query) as line,
    ):
        it = Client(line)
        await it.until("session.created")
        yield it
        assert_typed(it.seen)


@pytest.mark.slow
async def test_a_spoken_turn_and_a_barge_in():
    async with typed_client("talk", "how are you") as it:
        await it.line.send(append(silence(0.5, WIRE), speech(1.0, WIRE), silence(0.7, WIRE)))
        await it.until("response.output_audio.delta")
        await it.until("response.done")
        await it.line.send(append(speech(1.0, WIRE), silence(0.7, WIRE)))
        await it.until("response.done")
        assert "conversation.item.truncated" in it.kinds()
        assert "conversation.item.input_audio_transcription.completed" in it.kinds()


async def test_functions_text_replies_apart_items_and_errors():
    async with typed_client() as it:
        session = {"type": "realtime", "tools": [TOOL], "max_output_tokens": 90}
        await it.send("session.update", session=session)
        await it.type_text("is it cold")
        await it.send("response.create")
        await it.until("response.done")
        output = {"type": "function_call_output", "call_id": CALL.call_id, "output": "3 C"}
        await it.send("conversation.item.create", item=output)
        await it.send("response.create", response={"output_modalities": ["text"]})
        await it.until("response.done")
        apart = {"conversation": "none", "metadata": {"topic": "x"}, "input": []}
        await it.send("response.create", response=apart)
        await it.until("response.done")
        for role in ("system", "assistant"):
            kind = "output_text" if role == "assistant" else "input_text"
            item = {"type": "message", "role": role, "content": [{"type": kind, "text": "x"}]}
            await it.send("conversation.item.create", item={**item, "id": role})
            await it.send("conversation.item.retrieve", item_id=role)
            await it.send("conversation.item.delete", item_id=role)
        await it.send("input_audio_buffer.clear")
        await it.send("input_audio_buffer.commit", event_id="ev_1")
        assert (await it.error())["event_id"] == "ev_1"


async def test_a_reply_that_the_client_ends_and_one_that_fails():
    async with typed_client() as it:
        await it.type_text("talk")
        await it.send("response.create")
        await it.until("response.output_audio.delta")
        await it.send("response.cancel")
        ended = (await it.until("response.done"))["response"]
        assert ended["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        await it.type_text("break")
        await it.send("response.create")
        failed = (await it.until("response.done"))["response"]
        assert failed["status"] == "failed"
        assert failed["status_details"]["error"]["message"]
        assert "reason" not in failed["status_details"]
        await it.until("response.done")  # the apology


@pytest.mark.slow
async def test_a_session_that_only_transcribes():
    async with typed_client("how are you", query="?intent=transcription") as it:
        session = {"type": "transcription", "audio": {"input": {"transcription": {}}}}
        await it.send("session.update", session=session)
        await it.line.send(append(silence(0.1, WIRE), speech(0.4, WIRE), silence(0.7, WIRE)))
        async with asyncio.timeout(10):
            await it.until("conversation.item.input_audio_transcription.completed")
