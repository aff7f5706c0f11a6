import base64
import contextlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol import (
    AppendedAudio,
    BadEvent,
    EventWriter,
    Identified,
    Pinged,
    SessionFacts,
    parse,
)
from agent.reply import CanvasStep
from agent.session import events, notices

FACTS = SessionFacts(
    "sess_1", "Be kind.", "smol", "whisper", "joe", "en", "server_vad", 0.5, 0.5, 0.4, None
)


def event(kind, **body):
    return json.dumps({"type": kind, **body})


def session_update(**session):
    return event("session.update", session={"type": "realtime", **session})


def bad(text):
    with pytest.raises(BadEvent) as caught:
        parse(text)
    return caught.value.trouble


def test_audio_is_decoded():
    samples = np.array([0, 16384, -32768], "<i2")
    audio = base64.b64encode(samples.tobytes()).decode()
    (appended,) = parse(event("input_audio_buffer.append", audio=audio))
    assert isinstance(appended, AppendedAudio)
    assert appended.samples.tolist() == [0.0, 0.5, -1.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (event("input_audio_buffer.commit"), events.CommitAudio()),
        (event("onebreath.ping", client_time_ms=1.5), Pinged(1.5)),
        (event("onebreath.device.changed"), events.DeviceChanged()),
        (event("input_audio_buffer.clear"), events.ClearAudio()),
        (
            event("input_audio_buffer.clear", event_id="x"),
            Identified(events.ClearAudio(), "x"),
        ),
        (event("response.create"), events.RespondNow()),
        (
            event("response.create", response={"output_modalities": ["audio"]}),
            events.RespondNow(text_only=False),
        ),
        (event("response.cancel", response_id="resp_1"), events.CancelReply("resp_1")),
        (event("output_audio_buffer.clear"), events.CancelReply(quiet=True)),
        (
            event(
                "conversation.item.create",
                item={
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "hi"}],
                },
            ),
            events.CreateItem(events.ClientItem(text="hi")),
        ),
        (
            event("conversation.item.truncate", item_id="i", content_index=0, audio_end_ms=1500),
            events.Truncate("i", 1.5),
        ),
        (
            event("session.update", session={"instructions": "x"}),
            events.Configure(instructions="x"),
        ),
        (
            session_update(instructions="x"),
            events.Configure(instructions="x", transcription_only=False),
        ),
        (
            session_update(audio={"input": {"turn_detection": None}}),
            events.Configure(transcription_only=False, turn_detection=False),
        ),
        (
            session_update(
                audio={
                    "input": {
                        "turn_detection": {
                            "type": "server_vad",
                            "threshold": 0.6,
                            "silence_duration_ms": 300,
                            "prefix_padding_ms": 200,
                            "create_response": False,
                        }
                    }
                }
            ),
            events.Configure(
                transcription_only=False,
                turn_detection=True,
                semantic=False,
                threshold=0.6,
                endpoint_delay=0.3,
                pre_roll=0.2,
                create_response=False,
            ),
        ),
        (
            session_update(
                audio={
                    "input": {
                        "turn_detection": {
                            "type": "semantic_vad",
                            "eagerness": "low",
                            "interrupt_response": False,
                        }
                    }
                }
            ),
            events.Configure(
                transcription_only=False,
                turn_detection=True,
                semantic=True,
                eagerness="low",
                interrupt_response=False,
            ),
        ),
        (
            session_update(
                audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}}
            ),
            events.Configure(
                transcription_only=False, turn_detection=True, semantic=False, idle_after=6.0
            ),
        ),
        (
            session_update(
                audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": None}}}
            ),
            events.Configure(
                transcription_only=False, turn_detection=True, semantic=False, idle_after=math.inf
            ),
        ),
    ],
)
def test_client_events(text, expected):
    assert parse(text) == [expected]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("hello", "invalid_json", "JSON object"),
        ("{", "invalid_json", "JSON object"),
        ("[1]", "invalid_json", "JSON object"),
        ("[" * 100_000, "invalid_json", "JSON object"),
        ("{}", "unknown_event", "has no type; there are conversation.item.create"),
        (event("make.coffee"), "unknown_event", "response.create"),
        (event("input_audio_buffer.append"), "missing_required_parameter", "audio"),
        (event("input_audio_buffer.append", audio="?!"), "invalid_audio", "base64"),
        (event("input_audio_buffer.append", audio="YWJjZ"), "invalid_audio", "base64"),
        (event("response.create", response={"tools": 7}), "invalid_type", "response.tools"),
        (session_update(tools=[{"name": "a b"}]), "invalid_value", "session.tools[0].name"),
        (session_update(instructions=7), "invalid_type", "session.instructions"),
        (session_update(instructions="x" * 32_769), "string_above_max_length", "instructions"),
        (
            session_update(audio={"input": {"format": {"type": "audio/mp3"}}}),
            "invalid_value",
            "session.audio.input.format.type",
        ),
        (event("session.update"), "missing_required_parameter", "session"),
        (event("conversation.item.truncate", item_id="i", audio_end_ms=-1), "invalid_value", "0"),
        (
            event("conversation.item.truncate", item_id="i", audio_end_ms=10**400),
            "invalid_value",
            "audio_end_ms",
        ),
    ],
)
def test_bad_events_say_what_is_wrong(text, code, words):
    trouble = bad(text)
    assert trouble.code == code
    assert words in trouble.message


def test_an_error_names_the_event_it_is_about():
    assert bad(event("make.coffee", event_id="ev_7")).event_id == "ev_7"
    update = {"session": {"type": "realtime", "audio": 7}}
    assert bad(event("session.update", event_id="ev_9", **update)).event_id == "ev_9"
    audio = event("input_audio_buffer.append", event_id="ev_8", audio="?")
    assert bad(audio).event_id == "ev_8"


def test_long_texts_are_refused():
    content = [{"type": "input_text", "text": "x" * 20_000}] * 2
    item = {"type": "message", "role": "user", "content": content}
    assert bad(event("conversation.item.create", item=item)).code == "string_above_max_length"


@pytest.mark.slow
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_garbage_is_never_more_than_a_bad_event(garbage):
    with contextlib.suppress(BadEvent):
        parse(garbage)


def written(*told):
    writer = EventWriter(FACTS, own_events=True)
    return [event for notice in told for event in writer.write(notice)]


def test_the_session_is_described_and_follows_its_changes():
    writer = EventWriter(FACTS)
    created = writer.created()
    assert created["type"] == "session.created"
    vad = created["session"]["audio"]["input"]["turn_detection"]
    assert (vad["silence_duration_ms"], vad["prefix_padding_ms"]) == (500, 400)
    (updated,) = writer.write(
        notices.Configured(events.Configure(instructions="No.", endpoint_delay=0.2))
    )
    assert updated["session"]["instructions"] == "No."
    (updated,) = writer.write(notices.Configured(events.Configure(threshold=0.7)))
    vad = updated["session"]["audio"]["input"]["turn_detection"]
    assert (vad["silence_duration_ms"], vad["threshold"]) == (200, 0.7)
    (updated,) = writer.write(
        notices.Configured(events.Configure(transcription_only=False, turn_detection=False))
    )
    assert updated["session"]["audio"]["input"]["turn_detection"] is None


def test_a_wish_for_the_words_says_nothing_about_the_pause_alone():
    writer = EventWriter(FACTS)
    wishes = [events.Configure(semantic=True, eagerness="low"), events.Configure(semantic=False)]
    told = [event for wish in wishes for event in writer.write(notices.Configured(wish))]
    first, second = (told["session"]["audio"]["input"]["turn_detection"] for told in told)
    assert (first["type"], first["eagerness"]) == ("semantic_vad", "low")
    assert (second["type"], second["silence_duration_ms"]) == ("server_vad", 500)


def test_a_reply_is_told_in_the_order_of_the_realtime_api():
    half = np.full(2205, 0.5, np.float32)
    events = written(
        notices.ReplyStarted("resp_1", "item_2"),
        notices.ReplyItemStarted("resp_1", "item_2", "item_1"),
        notices.CanvasShown("resp_1", CanvasStep(1, 4, ("Hi", ""), (False, True), (0.9, 0.1), 5.0)),
        notices.ReplyTextDelta("resp_1", "item_2", "Hi there."),
        notices.WordTimestamps("resp_1", "item_2", (notices.WordTimestamp(0.1234, 2),)),
        notices.Play("resp_1", "item_2", half, 22_050),
        notices.TurnTimed("resp_1", "item_2", {"asr": 0.1234}, 1.5),
        notices.Play("resp_1", "item_2", half, 22_050),
        notices.ReplyFinished("resp_1", "item_2", "completed", "", "Hi there.", {"forwards": 4.0}),
    )
    assert [event["type"] for event in events] == [
        "response.created",
        "rate_limits.updated",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "onebreath.denoise.step",
        "response.output_audio_transcript.delta",
        "onebreath.playback.words",
        "response.output_audio.delta",
        "onebreath.turn.timings",
        "response.output_audio.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert len({event["event_id"] for event in events}) == len(events)
    audio = b"".join(
        base64.b64decode(event["delta"])
        for event in events
        if event["type"] == "response.output_audio.delta"
    )
    assert len(audio) // 2 == pytest.approx(4800, abs=2)  # 0.2 s at 24 kHz, nothing held back
    assert events[7]["words"] == [{"end_ms": 123.4, "characters": 2}]
    assert events[9]["spans_ms"] == {"asr": 123.4}
    response = events[-1]["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"][0]["transcript"] == "Hi there."
    assert response["onebreath"] == {"forwards": 4.0}
    json.dumps(events)


def test_every_notice_can_be_written():
    told = [
        notices.SpeechStarted("i", 1.0),
        notices.SpeechStopped("i", 2.0),
        notices.TurnCommitted("i", None),
        notices.AudioCleared(),
        notices.TranscriptUpdated("i", "hel", "hel", final=False),
        notices.TranscriptUpdated("i", "hello", "", final=True),
        notices.TextAccepted("i", None, "hello"),
        notices.TranscriptFailed("i", "no words"),
        notices.ItemRetrieved(notices.Item("i", "message", "user", "hello")),
        notices.ItemDeleted("i"),
        notices.IdleTimedOut("i", 1.0, 6.0),
        notices.ReplyStarted("r", "i"),
        notices.StopPlaying("r", "i", 0.5),
        notices.ReplyFinished("r", "i", "cancelled", "turn_detected", "Hi"),
        notices.ItemTruncated("i", 0.5),
        notices.Trouble("code", "message", event_id="ev"),
    ]
    kinds = [event["type"] for event in json.loads(json.dumps(written(*told)))]
    assert kinds[:5] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert kinds[-1] == "error"
