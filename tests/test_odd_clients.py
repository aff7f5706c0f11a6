"""What clients send that is odd and still means something; each call goes on."""

import asyncio
import base64
import json

import numpy as np
import pytest
from support.fakes import silence, speech
from test_server import WIRE, append
from test_session_settings import TOOL
from test_standard_client import client

from agent.audio.base64_text import from_base64
from agent.audio.g711 import decode_mulaw
from agent.audio.samples import to_pcm16
from agent.audio.wire_format import WireFormat
from agent.protocol import BadEvent
from agent.protocol.sound import SoundReader

PCM = WireFormat()
QUESTION = to_pcm16(np.concatenate([silence(0.5, WIRE), speech(1.0, WIRE), silence(0.8, WIRE)]))


def encoded(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "written",
    [
        lambda data: base64.encodebytes(data).decode(),
        lambda data: encoded(data).rstrip("="),
        lambda data: base64.urlsafe_b64encode(data).decode(),
        lambda data: "\r\n " + encoded(data) + "\t",
    ],
    ids=["lines", "no padding", "the URL's alphabet", "spaces around"],
)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 300])
def test_base64_of_every_common_form(written, size):
    data = bytes(range(256)) * 2
    assert from_base64(written(data[:size])) == data[:size]


@pytest.mark.parametrize("text", ["data:audio/wav;base64,AAAA", "AAAAA", "é", "AA*A"])
def test_other_text_is_none(text):
    with pytest.raises(ValueError):  # noqa: PT011 - its sentence is not shown
        from_base64(text)


@pytest.mark.parametrize("size", [1, 3, 961])
def test_a_stream_that_is_cut_in_the_middle_of_samples_is_whole_again(size):
    sound = to_pcm16(speech(0.1, WIRE))
    reader = SoundReader(WIRE)
    pieces = [sound[at : at + size] for at in range(0, len(sound), size)]
    heard = np.concatenate([reader.read(encoded(piece), PCM) for piece in pieces])
    assert to_pcm16(heard) == sound


def test_half_a_sample_does_not_shift_the_sound_of_the_next_turn():
    sound = to_pcm16(speech(0.1, WIRE))
    reader = SoundReader(WIRE)
    reader.read(encoded(sound[:3]), PCM)
    reader.forget()
    assert to_pcm16(reader.read(encoded(sound), PCM)) == sound
    reader.read(encoded(b"\0"), PCM)
    mulaw = WireFormat("pcmu", 8000)
    assert len(reader.read(encoded(b"\xff" * 80), mulaw)) > 0
    assert to_pcm16(reader.read(encoded(sound), PCM)) == sound


def test_what_is_no_base64_is_told_with_the_format_that_is_wanted():
    with pytest.raises(BadEvent, match="16-bit little-endian mono PCM at 24000 Hz"):
        SoundReader(WIRE).read("?", PCM)


@pytest.mark.slow
async def test_a_spoken_turn_in_odd_pieces():
    async with client("how are you") as it:
        for at in range(0, len(QUESTION), 9601):
            piece = encoded(QUESTION[at : at + 9601])
            await it.send("input_audio_buffer.append", audio=piece)
        await it.until("response.done")
    assert "error" not in it.kinds()


@pytest.mark.slow
async def test_an_output_that_is_an_object_is_written_as_json():
    async with client() as it:
        await it.send("session.update", session={"tools": [TOOL]})
        for output in ({"celsius": 3}, 3, None, [1, 2]):
            await it.type_text("is it cold")
            await it.send("response.create")
            done = await it.until("response.done")
            call_id = done["response"]["output"][0]["call_id"]
            item = {"type": "function_call_output", "call_id": call_id, "output": output}
            await it.send("conversation.item.create", item=item)
            added = await it.until("conversation.item.done")
            while added["item"]["type"] != "function_call_output":
                added = await it.until("conversation.item.done")
            assert json.loads(added["item"]["output"]) == output
    assert "error" not in it.kinds()


async def test_milliseconds_may_be_fractions():
    detection = {"type": "server_vad", "silence_duration_ms": 450.5, "prefix_padding_ms": 300.0}
    async with client() as it:
        audio = {"input": {"turn_detection": detection}}
        await it.send("session.update", session={"audio": audio})
        session = (await it.until("session.updated"))["session"]
        shown = session["audio"]["input"]["turn_detection"]
        assert shown["prefix_padding_ms"] == 300
        await it.type_text("talk")
        await it.send("response.create")
        done = await it.until("response.done")
        item_id = done["response"]["output"][0]["id"]
        await it.send("conversation.item.truncate", item_id=item_id, audio_end_ms=1234.56)
        assert (await it.until("conversation.item.truncated"))["audio_end_ms"] == 1235


async def test_turn_detection_of_the_type_none_is_off():
    async with client() as it:
        await it.send("session.update", session={"turn_detection": {"type": "none"}})
        session = (await it.until("session.updated"))["session"]
    assert session["audio"]["input"]["turn_detection"] is None


async def test_a_choice_of_a_tool_that_is_left_out_does_not_refuse_the_rest():
    mcp = {"type": "mcp", "server_label": "files", "server_url": "https://example.org"}
    async with client() as it:
        session = {"tools": [mcp, TOOL], "tool_choice": {"type": "mcp", "server_label": "files"}}
        await it.send("session.update", session={**session, "instructions": "Be brief."})
        shown = (await it.until("session.updated"))["session"]
        assert shown["instructions"] == "Be brief."
        assert shown["tools"] == [TOOL]
        assert shown["tool_choice"] == "auto"


async def test_a_format_that_changes_during_a_reply_is_for_the_next():
    """Otherwise mu-law of 8 kHz would be heard as PCM, in the middle of an item."""
    async with client() as it:
        await it.type_text("talk")
        await it.send("response.create")
        await it.until("response.output_audio.delta")
        formats = {"output": {"format": {"type": "audio/pcmu"}}}
        await it.send("session.update", session={"audio": formats})
        done = await it.until("response.done")
        assert done["response"]["audio"]["output"]["format"]["type"] == "audio/pcm"
        deltas = [e["delta"] for e in it.seen if e["type"] == "response.output_audio.delta"]
        first = b"".join(map(base64.b64decode, deltas))
        await it.send("response.cancel")
        it.seen.clear()
        await it.send("response.create")
        await it.until("response.done")
        while not any(e["type"] == "response.output_audio.delta" for e in it.seen):
            await it.until("response.done")
        deltas = [e["delta"] for e in it.seen if e["type"] == "response.output_audio.delta"]
        second = b"".join(map(base64.b64decode, deltas))
    assert np.abs(np.frombuffer(first, "<i2")).max() > 1000
    assert np.abs(decode_mulaw(second)).max() > 0.03
    assert len(first) / 2 / WIRE > 2


async def test_a_running_reply_whose_item_is_deleted_ends():
    async with client() as it:
        await it.type_text("talk")
        await it.send("response.create")
        added = await it.until("response.output_item.added")
        await it.until("response.output_audio.delta")
        await it.send("conversation.item.delete", item_id=added["item"]["id"])
        await it.until("conversation.item.deleted")
        await it.type_text("how are you")
        await it.send("response.create")
        done = await it.until("response.done")
        while done["response"]["status"] != "completed":
            done = await it.until("response.done")
    # Nothing of the reply is remembered, so that both questions are one message of the prompt.
    said = done["response"]["output"][0]["content"][0]["transcript"]
    assert said == "You said: talk how are you"
    assert "error" not in it.kinds()


@pytest.mark.parametrize("first", [True, False], ids=["in front", "behind"])
async def test_an_event_that_is_too_large_is_told_by_its_id(first):
    async with client() as it:
        large = {"session": {"instructions": "x" * 1_200_000}}
        named = {"event_id": "ev_9"}
        body = {**named, **large} if first else {**large, **named}
        await it.send("session.update", **body)
        error = await it.error()
    assert (error["code"], error["event_id"]) == ("message_too_large", "ev_9")


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"max_output_tokens": "many"}, "session.max_output_tokens"),
        ({"audio": {"output": {"voice": 7}}}, "session.audio.output.voice"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "session.tools[0]"),
        ({"audio": {"input": {"turn_detection": {"threshold": 7}}}}, "session.audio.input"),
    ],
)
async def test_an_error_names_a_field_and_no_alternative_of_the_schema(session, param):
    async with client() as it:
        await it.send("session.update", session=session, event_id="ev_1")
        error = await it.error()
    assert error["param"].startswith(param)
    assert not error["param"].endswith((".str", ".int", "VoiceId", "]']"))
    assert error["event_id"] == "ev_1"


async def test_items_of_a_function_are_deleted_one_by_one_in_any_order():
    """As livekit's agents do at a handoff: the call first, then its output."""
    async with client() as it:
        await it.send("session.update", session={"tools": [TOOL]})
        for order in (1, -1):
            await it.type_text("is it cold", id=f"asked_{order}")
            await it.send("response.create")
            call = (await it.until("response.done"))["response"]["output"][0]
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "3 C"}
            await it.send("conversation.item.create", item={**output, "id": f"out_{order}"})
            for item_id in (f"asked_{order}", call["id"], f"out_{order}")[::order]:
                await it.send("conversation.item.delete", item_id=item_id)
                deleted = await it.until("conversation.item.deleted")
                assert deleted["item_id"] == item_id
        await it.type_text("how are you")
        await it.send("response.create")
        await it.until("response.done")
        prompt = it.engines.responder.prompts[-1]
        assert [message.role for message in prompt] == ["system", "user"]
    assert "error" not in it.kinds()


async def test_a_reply_that_is_asked_for_begins_once_the_one_before_it_is_generated():
    """Its client plays it after that, and says by its id which one was cut."""
    async with client() as it:
        ids = []
        async with asyncio.timeout(4):  # the sound of each lasts longer
            for _ in range(3):
                await it.type_text("talk")
                await it.send("response.create")
                done = await it.until("response.done")
                ids.append(done["response"]["output"][0]["id"])
        await it.send("conversation.item.truncate", item_id=ids[0], audio_end_ms=100)
        assert (await it.until("conversation.item.truncated"))["item_id"] == ids[0]
    assert "error" not in it.kinds()


async def test_a_reply_that_waits_at_the_client_is_known_after_the_next_was_cancelled():
    async with client() as it:
        await it.type_text("talk")
        await it.send("response.create")
        first = (await it.until("response.done"))["response"]["output"][0]["id"]
        await it.type_text("talk")
        await it.send("response.create")
        await it.until("response.created")
        await it.send("response.cancel")
        await it.send("conversation.item.truncate", item_id=first, audio_end_ms=200)
        assert (await it.until("conversation.item.truncated"))["item_id"] == first
    assert "error" not in it.kinds()


@pytest.mark.slow
async def test_who_speaks_into_several_replies_that_wait_at_the_client_cuts_all_of_them():
    async with client("how are you") as it:
        for _ in range(2):
            await it.type_text("talk")
            await it.send("response.create")
            await it.until("response.done")
        await it.line.send(append(silence(0.5, WIRE), speech(1.0, WIRE), silence(0.8, WIRE)))
        done = await it.until("response.done")
    # Of the second reply nothing was heard, so that its question and this one are one message.
    said = done["response"]["output"][0]["content"][0]["transcript"]
    assert said == "You said: talk how are you"
    cut = [e for e in it.seen if e["type"] == "conversation.item.truncated"]
    assert len({event["item_id"] for event in cut}) == 2
    heard = [m.content for m in it.engines.responder.prompts[-1] if m.role == "assistant"]
    assert len(" ".join(heard).split()) < 40, heard


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:9/schema.json", "file:///etc/passwd", "other.json#/a"]
)
async def test_a_schema_that_refers_to_other_documents_is_refused_and_nothing_is_fetched(
    reference,
):
    deep = {"type": "object", "properties": {"a": {"anyOf": [{"$ref": reference}]}}}
    async with client() as it:
        tool = {**TOOL, "parameters": deep}
        await it.send("session.update", session={"tools": [tool]}, event_id="ev_1")
        error = await it.error()
        assert (error["param"], error["event_id"]) == ("session.tools[0].parameters", "ev_1")
        assert "references to other documents" in error["message"]
        own = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}}
        await it.send("session.update", session={"tools": [{**TOOL, "parameters": own}]})
        await it.until("session.updated")
