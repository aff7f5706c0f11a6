"""Sessions, items and replies in the forms that clients of other projects write them in."""

import json
from dataclasses import replace

import pytest
from test_protocol import FACTS
from test_session_settings import ABLE, TOOL
from test_standard_client import client

from agent.audio.wire_format import WireFormat
from agent.protocol import BadEvent, ClientEvents, EventWriter, Reading
from agent.session.notices import ReplyFinished, ReplyStarted


def read(kind, **body):
    (message,) = ClientEvents(Reading(ABLE)).parse(json.dumps({"type": kind, **body}))
    return message


def session(**body):
    return read("session.update", session=body)


def item(**body):
    return read("conversation.item.create", item=body).item


def heard(**fields):
    return {"input": fields}


PCM, MULAW = WireFormat("pcm", 24_000), WireFormat("pcmu", 8000)


@pytest.mark.parametrize(
    ("given", "read_as"),
    [
        ({"rate": 24_000}, PCM),
        ({"type": None, "rate": 16_000}, WireFormat("pcm", 16_000)),
        ({"type": "pcm16"}, PCM),
        ({"type": "g711_ulaw"}, MULAW),
        ({"type": "audio/pcmu", "rate": 8000}, MULAW),
        ("g711_ulaw", MULAW),
        ({"type": None, "rate": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_formats_of_sound(given, read_as):
    audio = {"input": {"format": given}, "output": {"format": given}}
    change = session(audio=audio, instructions="Be kind.")
    assert (change.input_format, change.output_format) == (read_as, read_as)
    assert change.instructions == "Be kind."


def test_a_format_that_no_one_can_decode_is_an_error():
    with pytest.raises(BadEvent, match=r"session\.audio\.input\.format\.type"):
        session(audio=heard(format={"type": "audio/opus"}))


@pytest.mark.parametrize(
    ("given", "text_only"),
    [
        ("text", True),
        (["text", "audio", "avatar", "animation"], False),
        (["text", "avatar"], True),
        ([], None),
        (None, None),
    ],
)
@pytest.mark.parametrize("name", ["modalities", "output_modalities"])
def test_modalities(name, given, text_only):
    assert session(**{name: given}).text_only is text_only


def test_modalities_of_which_none_is_known_are_an_error():
    with pytest.raises(BadEvent, match="output_modalities"):
        session(modalities=["smell"])


@pytest.mark.parametrize(
    ("given", "semantic"), [("semantic_vad", True), ({"type": "server_vad"}, False)]
)
def test_turn_detection_by_its_name(given, semantic):
    change = session(turn_detection=given)
    assert change.turn_detection is True
    assert change.semantic is semantic


def test_turn_detection_of_another_service_is_the_servers_own():
    given = {"type": "azure_semantic_vad", "remove_filler_words": False, "create_response": False}
    change = session(audio=heard(turn_detection=given), instructions="Be kind.")
    assert (change.turn_detection, change.semantic, change.create_response) == (True, None, False)
    assert "azure_semantic_vad" in "".join(change.ignored)
    with pytest.raises(BadEvent, match="server_vad, semantic_vad"):
        session(turn_detection={"type": "loudness"})


@pytest.mark.parametrize(
    "voice", [{"id": "voice_1"}, {"name": "en-US-Ava", "type": "azure-standard"}, {"type": "own"}]
)
def test_voices_of_other_services(voice):
    change = session(voice=voice, instructions="Be kind.")
    assert change.instructions == "Be kind."


def test_null_in_one_form_does_not_hide_what_the_other_form_says():
    change = session(
        modalities=["text"],
        output_modalities=None,
        output_audio_format="g711_ulaw",
        audio={"output": {"format": None}},
    )
    assert (change.text_only, change.output_format) == (True, MULAW)
    off = session(turn_detection={"type": "server_vad"}, audio={"input": {"turn_detection": None}})
    assert off.turn_detection is False


@pytest.mark.parametrize("arguments", ["", None, "{}", {}])
def test_a_call_without_arguments(arguments):
    made = item(type="function_call", name="f", call_id="c", arguments=arguments)
    assert made.text == "{}"


def test_arguments_that_are_an_object():
    made = item(type="function_call", name="f", call_id="", arguments={"city": "Malmö"})
    assert made.text == '{"city": "Malmö"}'
    assert made.call_id.startswith("call_")


@pytest.mark.parametrize(
    "content", ["hello", ["hello"], [{"text": "hello"}], [{"type": "input_text", "text": "hello"}]]
)
def test_words_of_a_message(content):
    made = item(type="message", role="developer", content=content, id="")
    assert (made.role, made.text, made.item_id) == ("system", "hello", None)


@pytest.mark.parametrize("content", [[], None])
def test_only_the_agent_may_have_said_nothing(content):
    assert item(type="message", role="assistant", content=content).text == ""
    with pytest.raises(BadEvent, match="0 parts"):
        item(type="message", role="user", content=content)


def test_an_empty_place_is_the_end():
    body = {"type": "message", "role": "user", "content": "hello"}
    assert read("conversation.item.create", item=body, previous_item_id="").previous is None


def test_options_of_a_reply_in_both_forms():
    newer = read(
        "response.create",
        response={
            "conversation": "conv_3e4a",
            "output_modalities": ["audio"],
            "audio": {"output": {"format": {"type": "audio/pcmu"}, "voice": "cedar"}},
            "max_output_tokens": 40,
            "prompt": {"id": "pmpt_1"},
        },
    )
    older = read(
        "response.create",
        response={
            "conversation": "auto",
            "modalities": ["audio", "text"],
            "output_audio_format": "g711_ulaw",
            "voice": "alloy",
            "max_response_output_tokens": 40,
            "temperature": 0.8,
        },
    )
    assert newer.ignored == ("response.prompt", "response.audio.output.voice 'cedar' (joe speaks)")
    assert older.ignored[0] == "response.temperature"
    assert replace(newer, ignored=()) == replace(older, ignored=())
    assert (newer.output_format, newer.max_tokens, newer.apart) == (MULAW, 40, False)


def test_the_object_of_a_response_names_its_own_format():
    writer = EventWriter(FACTS)
    started = ReplyStarted("resp_1", "item_1", output_format=MULAW)
    created = next(writer.write(started))["response"]
    assert created["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    ended = ReplyFinished("resp_1", "item_1", "cancelled", "decision: human", "")
    done = list(writer.write(ended))[-1]["response"]
    assert done["status_details"] == {"type": "cancelled"}


async def test_one_reply_in_a_format_of_its_own():
    async with client("how are you") as it:
        await it.send("session.update", session={"type": "realtime", "tools": [TOOL]})
        sizes = []
        for options in ({}, {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}, {}):
            await it.type_text("how are you")
            await it.send("response.create", response=options)
            it.seen.clear()
            await it.until("response.done")
            deltas = [e["delta"] for e in it.seen if e["type"] == "response.output_audio.delta"]
            sizes.append(sum(map(len, deltas)))
        assert sizes[0] == pytest.approx(6 * sizes[1], rel=0.05)
        assert sizes[0] == pytest.approx(sizes[2], rel=0.05)
