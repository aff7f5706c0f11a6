"""Sessions as real clients ask for them: all of it is accepted, and what holds is said."""

import json
import math

import pytest
from test_protocol import FACTS

from agent.audio.wire_format import WireFormat
from agent.protocol import Abilities, BadEvent, ClientEvents, EventWriter, Identified, Reading
from agent.reply import FunctionTool
from agent.session.events import Configure, ToolChoice
from agent.session.notices import Configured

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "name": "get_weather", "description": "Weather.", "parameters": SCHEMA}
ABLE = Abilities(True, "smol", "whisper", "en", "joe")
EVERYTHING = {
    "type": "realtime",
    "model": "gpt-realtime",
    "instructions": "Be kind. " * 900,
    "output_modalities": ["audio"],
    "max_output_tokens": 4096,
    "tracing": None,
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
    "prompt": {"id": "pmpt_1"},
    "include": ["item.input_audio_transcription.logprobs"],
    "reasoning": {"effort": "low"},
    "parallel_tool_calls": True,
    "some_future_field": {"deep": [1]},
    "tools": [TOOL, {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example"}],
    "tool_choice": "auto",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "noise_reduction": {"type": "near_field"},
            "transcription": {"model": "gpt-4o-transcribe", "language": "en", "prompt": "names"},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
                "create_response": True,
                "interrupt_response": True,
                "future": 1,
            },
        },
        "output": {"format": {"type": "audio/pcma"}, "voice": "marin", "speed": 1.25},
    },
}


def read(session, reading=None):
    """What a client's ``session.update`` changes."""
    events = ClientEvents(reading or Reading(ABLE))
    (change,) = events.parse(json.dumps({"type": "session.update", "session": session}))
    return change


def refusal(session, reading=None):
    with pytest.raises(BadEvent) as caught:
        read(session, reading)
    return caught.value.trouble


def test_every_field_of_the_api_is_accepted_and_what_can_be_is_applied():
    change = read(EVERYTHING)
    assert change.instructions == EVERYTHING["instructions"]
    assert change.tools == (FunctionTool("get_weather", "Weather.", SCHEMA),)
    assert (change.max_tokens, change.endpoint_delay) == (4096, 0.5)
    assert change.input_format == WireFormat("pcmu", 8000)
    assert change.output_format == WireFormat("pcma", 8000)


def test_what_is_not_applied_is_said_once_by_its_path():
    told = "; ".join(read(EVERYTHING).ignored)
    for name in (
        "session.model",
        "session.truncation",
        "session.some_future_field",
        "session.tools[1]",
        "noise_reduction",
        "transcription.model",
        "transcription.prompt",
        "output.voice 'marin' (joe speaks)",
        "output.speed",
    ):
        assert name in told
    assert "session.tracing" not in told, "a null asks for nothing"
    writer = EventWriter(FACTS, own_events=True)
    kinds = [event["type"] for event in writer.write(Configured(read(EVERYTHING)))]
    assert kinds == ["session.updated", "onebreath.notice"]


def test_the_session_says_what_holds():
    writer = EventWriter(FACTS)
    (updated,) = writer.write(Configured(read(EVERYTHING)))
    session = updated["session"]
    assert session["audio"]["output"]["format"] == {"type": "audio/pcma"}
    assert (session["audio"]["output"]["voice"], session["model"]) == ("joe", "smol")
    assert session["tools"] == [TOOL]
    assert session["max_output_tokens"] == 4096
    assert session["audio"]["input"]["noise_reduction"] is None
    (again,) = writer.write(Configured(read({"type": "realtime", "instructions": "No."})))
    assert again["session"]["tools"] == [TOOL], "what is left out stays"


def test_a_session_that_is_sent_back_as_it_came_changes_nothing():
    session = EventWriter(FACTS).session
    assert read(session, Reading(ABLE)).ignored == ("session.truncation",)


def test_the_names_of_the_beta_are_understood():
    change = read(
        {
            "modalities": ["text"],
            "voice": "alloy",
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 700},
            "max_response_output_tokens": "inf",
            "temperature": 0.8,
        }
    )
    assert change.text_only is True
    assert change.input_format == WireFormat("pcmu", 8000)
    assert change.output_format == WireFormat("pcm", 24_000)
    assert (change.endpoint_delay, change.max_tokens) == (0.7, math.inf)
    assert "session.temperature" in change.ignored


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"tools": [TOOL, TOOL]}, "invalid_value", "session.tools[1].name"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        (
            {"tools": [{**TOOL, "parameters": {"type": "banana"}}]},
            "invalid_value",
            "session.tools[0].parameters",
        ),
        (
            {"tools": [{**TOOL, "parameters": {"type": "string"}}]},
            "invalid_value",
            "session.tools[0].parameters.type",
        ),
        ({"tools": [{**TOOL, "parameters": 7}]}, "invalid_type", "session.tools[0].parameters"),
        ({"tools": [{**TOOL, "description": "x" * 300_000}]}, "string_above_max_length", None),
        ({"tools": [{**TOOL, "name": f"f{n}"} for n in range(129)]}, "invalid_value", None),
        ({"tools": "all"}, "invalid_type", "session.tools"),
        ({"tool_choice": "sometimes"}, "invalid_value", "session.tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "launch"}},
            "invalid_value",
            "session.tool_choice.name",
        ),
        ({"max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
        ({"audio": {"output": {"speed": 9}}}, "invalid_value", "session.audio.output.speed"),
        ({"audio": "loud"}, "invalid_type", "session.audio"),
        ({"output_modalities": ["smell"]}, "invalid_value", "session.output_modalities[0]"),
    ],
)
def test_what_makes_no_sense_is_an_error_with_its_path(session, code, param):
    trouble = refusal(session)
    assert trouble.code == code
    assert param in (None, trouble.param)


def test_nothing_of_a_bad_update_is_applied():
    reading = Reading(ABLE)
    audio = {"input": {"format": {"type": "audio/pcmu"}}}
    refusal({"audio": audio, "max_output_tokens": 0}, reading)
    assert reading.input_format == WireFormat()


def test_a_choice_may_name_a_tool_of_an_earlier_update():
    reading = Reading(ABLE)
    read({"tools": [TOOL]}, reading)
    change = read({"tool_choice": {"type": "function", "name": "get_weather"}}, reading)
    assert change.tool_choice == ToolChoice("function", "get_weather")


def test_a_responder_without_tools_leaves_them_out_and_says_so():
    change = read({"tools": [TOOL], "tool_choice": "required"}, Reading(Abilities(tools=False)))
    assert (change.tools, change.tool_choice) == (None, None)
    assert "session.tools (this responder calls no functions)" in change.ignored


def test_a_transcription_session():
    change = read({"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcm"}}}})
    assert change.transcription_only is True
    writer = EventWriter(FACTS)
    writer.configure(change)
    assert writer.created()["session"]["type"] == "transcription"


def test_the_id_of_the_clients_event_comes_with_its_input():
    update = {"type": "session.update", "event_id": "ev_1", "session": {"instructions": "x"}}
    (message,) = ClientEvents().parse(json.dumps(update))
    assert message == Identified(Configure(instructions="x"), "ev_1")
