"""Reader of client events: JSON text in, session inputs or a clear error out."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from agent.audio.samples import Samples, from_pcm16
from agent.errors import AudioError, ProtocolError
from agent.protocol.client_schema import (
    CLIENT_EVENT,
    MAX_ID,
    MAX_TEXT,
    Append,
    Clear,
    ClientEvent,
    Commit,
    ItemCreate,
    ItemTruncate,
    OutputClear,
    Ping,
    ResponseCancel,
    ResponseCreate,
    SemanticVad,
    ServerVad,
    SessionConfig,
    SessionUpdate,
    known_types,
)
from agent.session.events import (
    CancelReply,
    ClearAudio,
    CommitAudio,
    Configure,
    Input,
    RespondNow,
    TextTyped,
    Truncate,
)
from agent.session.notices import Trouble


class BadEvent(ProtocolError):
    """A client event that cannot be accepted; ``trouble`` is the error event to send."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class AppendedAudio:
    """The caller's next audio.

    Attributes:
        samples: float32 mono at the transport's rate.
    """

    samples: Samples


@dataclass(frozen=True, slots=True)
class Pinged:
    """A ping to compare clocks; the transport answers at once with ``EventWriter.pong``.

    Attributes:
        client_time_ms: milliseconds on the client's clock.
    """

    client_time_ms: float


ClientMessage = AppendedAudio | Input


def parse(text: str | bytes) -> Sequence[ClientMessage | Pinged]:
    """Read one client event.

    Raises:
        BadEvent: the text is not JSON, or has an unknown event, an unknown field or a bad value.
    """
    try:
        event = CLIENT_EVENT.validate_json(text)
    except ValidationError as error:
        raise BadEvent(_explain(error, _event_id(text))) from None
    try:
        return list(_translate(event))
    except AudioError as error:
        raise BadEvent(_audio_trouble(str(error), event.event_id)) from None


def _translate(event: ClientEvent) -> Sequence[ClientMessage | Pinged]:
    match event:
        case Append():
            return [AppendedAudio(from_pcm16(_decoded(event)))]
        case Commit():
            return [CommitAudio()]
        case Clear():
            return [ClearAudio()]
        case ItemCreate():
            said = "".join(part.text for part in event.item.content)
            if len(said) > MAX_TEXT:
                raise BadEvent(_too_long(len(said), event.event_id))
            return [TextTyped(said, event.item.id)]
        case ItemTruncate():
            return [Truncate(event.item_id, event.audio_end_ms / 1000)]
        case ResponseCreate():
            return [RespondNow()]
        case ResponseCancel():
            return [CancelReply(event.response_id)]
        case OutputClear():
            return [CancelReply()]
        case SessionUpdate():
            return [_configure(event.session)]
        case Ping():
            return [Pinged(event.client_time_ms)]


def _configure(session: SessionConfig) -> Configure:
    audio_input = session.audio.input if session.audio else None
    if audio_input is None or "turn_detection" not in audio_input.model_fields_set:
        return Configure(instructions=session.instructions)
    vad = audio_input.turn_detection
    if vad is None:
        return Configure(instructions=session.instructions, turn_detection=False)
    common = Configure(
        instructions=session.instructions,
        turn_detection=True,
        semantic=isinstance(vad, SemanticVad),
        create_response=vad.create_response,
        interrupt_response=vad.interrupt_response,
    )
    if isinstance(vad, ServerVad):
        idle = _seconds(vad.idle_timeout_ms)
        return replace(
            common,
            threshold=vad.threshold,
            endpoint_delay=_seconds(vad.silence_duration_ms),
            pre_roll=_seconds(vad.prefix_padding_ms),
            idle_after=math.inf if _says_never(vad) else idle,
        )
    return replace(common, eagerness=vad.eagerness)


def _says_never(vad: ServerVad) -> bool:
    return "idle_timeout_ms" in vad.model_fields_set and vad.idle_timeout_ms is None


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _decoded(event: Append) -> bytes:
    try:
        return base64.b64decode(event.audio, validate=True)
    except (binascii.Error, ValueError):
        raise AudioError("not valid base64") from None


def _audio_trouble(message: str, event_id: str | None) -> Trouble:
    return Trouble(
        "invalid_audio",
        f"audio must be base64 of 16-bit little-endian mono PCM at 24000 Hz: {message}",
        event_id=event_id,
        param="audio",
    )


def _too_long(length: int, event_id: str | None) -> Trouble:
    message = f"the text has {length} characters; {MAX_TEXT} are allowed"
    return Trouble("string_above_max_length", message, event_id=event_id, param="item.content")


def _explain(error: ValidationError, event_id: str | None) -> Trouble:
    problem = error.errors(include_url=False)[0]
    where = [str(part) for part in problem["loc"]]
    match problem["type"]:
        case "json_invalid":
            return Trouble("invalid_json", f"an event must be a JSON object: {problem['msg']}")
        case "union_tag_invalid" | "union_tag_not_found":
            known = ", ".join(known_types())
            message = f"unknown event type; there are {known}"
            return Trouble("unknown_event", message, event_id=event_id, param="type")
        case "model_attributes_type" | "model_type" | "dict_type" if not where:
            return Trouble("invalid_json", "an event must be a JSON object with a type")
        case "extra_forbidden":
            param = ".".join(where[1:])
            message = f"{where[0]}: {param} is not supported here (docs/protocol.md lists what is)"
            return Trouble("unknown_parameter", message, event_id=event_id, param=param)
        case _:
            param = ".".join(where[1:])
            message = f"{where[0] if where else 'event'}: {param}: {problem['msg']}"
            return Trouble("invalid_value", message, event_id=event_id, param=param)


def _event_id(text: str | bytes) -> str | None:
    """The id in an event that is otherwise unreadable; None where there is no id."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = event.get("event_id") if isinstance(event, dict) else None
    return found if isinstance(found, str) and len(found) <= MAX_ID else None
