"""What a client may send: JSON text in, session inputs or a clear error out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agent.audio import Samples, from_pcm16
from agent.errors import AudioError, ProtocolError
from agent.events import (
    CancelReply,
    ClearAudio,
    CommitAudio,
    Configure,
    Input,
    RespondNow,
    TextSaid,
    Truncate,
)
from agent.notices import Trouble

MAX_TEXT = 2000
"""Characters of one typed message."""
MAX_ID = 64


class BadEvent(ProtocolError):
    """A client event that cannot be taken; ``trouble`` is the error event to send."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class AppendedAudio:
    """The next sound of the caller, float32 mono at 24 kHz."""

    samples: Samples


ClientMessage = AppendedAudio | Input


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_id: str | None = Field(None, max_length=MAX_ID)


class _PcmFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class _ServerVad(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"] = "server_vad"
    threshold: float | None = Field(None, gt=0, lt=1)
    prefix_padding_ms: int | None = Field(None, ge=0, le=2000)
    silence_duration_ms: int | None = Field(None, ge=100, le=5000)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: None = None


class _Transcription(BaseModel):
    """Which recogniser runs is the server's choice; session.updated names it."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    language: str | None = None
    prompt: str | None = None


class _AudioInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: _PcmFormat | None = None
    turn_detection: _ServerVad | None = None
    transcription: _Transcription | None = None
    noise_reduction: None = None


class _AudioOutput(BaseModel):
    """Which voice speaks is the server's choice; session.updated names it."""

    model_config = ConfigDict(extra="forbid")

    format: _PcmFormat | None = None
    voice: str | None = None
    speed: Literal[1] | None = None


class _Audio(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input: _AudioInput | None = None
    output: _AudioOutput | None = None


class _Session(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["realtime"] = "realtime"
    model: str | None = None
    instructions: str | None = Field(None, max_length=4000)
    output_modalities: list[Literal["audio"]] | None = None
    audio: _Audio | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["auto", "none"] | None = None


class _SessionUpdate(_Event):
    type: Literal["session.update"]
    session: _Session


class _Append(_Event):
    type: Literal["input_audio_buffer.append"]
    audio: str


class _Commit(_Event):
    type: Literal["input_audio_buffer.commit"]


class _Clear(_Event):
    type: Literal["input_audio_buffer.clear"]


class _InputText(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["input_text"]
    text: str = Field(min_length=1, max_length=MAX_TEXT)


class _UserMessage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(None, min_length=1, max_length=MAX_ID)
    object: Literal["realtime.item"] | None = None
    type: Literal["message"]
    role: Literal["user"]
    status: str | None = None
    content: list[_InputText] = Field(min_length=1, max_length=16)


class _ItemCreate(_Event):
    type: Literal["conversation.item.create"]
    item: _UserMessage
    previous_item_id: None = None


class _ItemTruncate(_Event):
    type: Literal["conversation.item.truncate"]
    item_id: str = Field(max_length=MAX_ID)
    content_index: Literal[0] = 0
    audio_end_ms: int = Field(ge=0)


class _ResponseOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    output_modalities: list[Literal["audio"]] | None = None


class _ResponseCreate(_Event):
    type: Literal["response.create"]
    response: _ResponseOptions | None = None


class _ResponseCancel(_Event):
    type: Literal["response.cancel"]
    response_id: str | None = None


class _OutputClear(_Event):
    type: Literal["output_audio_buffer.clear"]


_ClientEvent = Annotated[
    _SessionUpdate
    | _Append
    | _Commit
    | _Clear
    | _ItemCreate
    | _ItemTruncate
    | _ResponseCreate
    | _ResponseCancel
    | _OutputClear,
    Field(discriminator="type"),
]
_ADAPTER: TypeAdapter[_ClientEvent] = TypeAdapter(_ClientEvent)


def parse(text: str | bytes) -> Sequence[ClientMessage]:
    """Read one client event.

    Raises:
        BadEvent: not JSON, an unknown event or field, a bad value.
    """
    try:
        event = _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise BadEvent(_explain(error)) from None
    try:
        return list(_translate(event))
    except AudioError as error:
        raise BadEvent(_audio_trouble(str(error), event.event_id)) from None


def _translate(event: _ClientEvent) -> Sequence[ClientMessage]:
    match event:
        case _Append():
            return [AppendedAudio(from_pcm16(_decoded(event)))]
        case _Commit():
            return [CommitAudio()]
        case _Clear():
            return [ClearAudio()]
        case _ItemCreate():
            said = "".join(part.text for part in event.item.content)
            if len(said) > MAX_TEXT:
                raise BadEvent(_too_long(len(said), event.event_id))
            return [TextSaid(said, event.item.id)]
        case _ItemTruncate():
            return [Truncate(event.item_id, event.audio_end_ms / 1000)]
        case _ResponseCreate():
            return [RespondNow()]
        case _ResponseCancel() | _OutputClear():
            return [CancelReply()]
        case _SessionUpdate():
            return [_configure(event.session)]


def _configure(session: _Session) -> Configure:
    audio_input = session.audio.input if session.audio else None
    if audio_input is None or "turn_detection" not in audio_input.model_fields_set:
        return Configure(instructions=session.instructions)
    vad = audio_input.turn_detection
    if vad is None:
        return Configure(instructions=session.instructions, turn_detection=False)
    return Configure(
        instructions=session.instructions,
        turn_detection=True,
        threshold=vad.threshold,
        endpoint_delay=_seconds(vad.silence_duration_ms),
        pre_roll=_seconds(vad.prefix_padding_ms),
        create_response=vad.create_response,
        interrupt_response=vad.interrupt_response,
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _decoded(event: _Append) -> bytes:
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


def _explain(error: ValidationError) -> Trouble:
    problem = error.errors(include_url=False, include_context=True)[0]
    event_id = _event_id(problem["input"])
    where = [str(part) for part in problem["loc"]]
    match problem["type"]:
        case "json_invalid":
            return Trouble("invalid_json", f"an event must be a JSON object: {problem['msg']}")
        case "union_tag_invalid" | "union_tag_not_found":
            known = ", ".join(sorted(_known_types()))
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


def _event_id(value: Any) -> str | None:
    found = value.get("event_id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and len(found) <= MAX_ID else None


def _known_types() -> set[str]:
    schema = _ADAPTER.json_schema()
    return set(schema["discriminator"]["mapping"])
