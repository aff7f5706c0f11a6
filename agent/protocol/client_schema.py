"""Schema of the client events. Unknown fields are errors."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MAX_TEXT = 2000
"""Characters of one typed message, at most."""
MAX_ID = 64
"""Characters of an id, at most."""


class BaseEvent(BaseModel):
    """The common part of all client events."""

    model_config = ConfigDict(extra="forbid")

    event_id: str | None = Field(None, max_length=MAX_ID)


class PcmFormat(BaseModel):
    """The only format of audio: 16-bit PCM at 24000 Hz."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class ServerVad(BaseModel):
    """Turn detection by silence."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"] = "server_vad"
    threshold: float | None = Field(None, gt=0, lt=1)
    prefix_padding_ms: int | None = Field(None, ge=0, le=2000)
    silence_duration_ms: int | None = Field(None, ge=100, le=5000)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = Field(None, ge=5000, le=30_000)


class SemanticVad(BaseModel):
    """Turn detection that weighs whether the sentence is complete."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Transcription(BaseModel):
    """Wishes for the recogniser, which the server chooses; session.updated names it."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None
    language: str | None = None
    prompt: str | None = None


class AudioInput(BaseModel):
    """Settings of the caller's audio."""

    model_config = ConfigDict(extra="forbid")

    format: PcmFormat | None = None
    turn_detection: TurnDetection | None = None
    transcription: Transcription | None = None
    noise_reduction: None = None


class AudioOutput(BaseModel):
    """Wishes for the voice, which the server chooses; session.updated names it."""

    model_config = ConfigDict(extra="forbid")

    format: PcmFormat | None = None
    voice: str | None = None
    speed: Literal[1] | None = None


class Audio(BaseModel):
    """Settings of audio, both ways."""

    model_config = ConfigDict(extra="forbid")

    input: AudioInput | None = None
    output: AudioOutput | None = None


class SessionConfig(BaseModel):
    """The session settings in ``session.update``, or with an offer."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["realtime"] = "realtime"
    model: str | None = None
    instructions: str | None = Field(None, max_length=4000)
    output_modalities: list[Literal["audio"]] | None = None
    audio: Audio | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["auto", "none"] | None = None


class SessionUpdate(BaseEvent):
    """``session.update``."""

    type: Literal["session.update"]
    session: SessionConfig


class Append(BaseEvent):
    """``input_audio_buffer.append``; ``audio`` is base64."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class Commit(BaseEvent):
    """``input_audio_buffer.commit``."""

    type: Literal["input_audio_buffer.commit"]


class Clear(BaseEvent):
    """``input_audio_buffer.clear``."""

    type: Literal["input_audio_buffer.clear"]


class InputText(BaseModel):
    """A part of a typed message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["input_text"]
    text: str = Field(min_length=1, max_length=MAX_TEXT)


class UserMessage(BaseModel):
    """A typed message of the user."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(None, min_length=1, max_length=MAX_ID)
    object: Literal["realtime.item"] | None = None
    type: Literal["message"]
    role: Literal["user"]
    status: str | None = None
    content: list[InputText] = Field(min_length=1, max_length=16)


class ItemCreate(BaseEvent):
    """``conversation.item.create``."""

    type: Literal["conversation.item.create"]
    item: UserMessage
    previous_item_id: None = None


class ItemTruncate(BaseEvent):
    """``conversation.item.truncate``."""

    type: Literal["conversation.item.truncate"]
    item_id: str = Field(max_length=MAX_ID)
    content_index: Literal[0] = 0
    audio_end_ms: int = Field(ge=0, le=86_400_000)


class ResponseOptions(BaseModel):
    """The options of ``response.create``."""

    model_config = ConfigDict(extra="forbid")

    output_modalities: list[Literal["audio"]] | None = None


class ResponseCreate(BaseEvent):
    """``response.create``."""

    type: Literal["response.create"]
    response: ResponseOptions | None = None


class ResponseCancel(BaseEvent):
    """``response.cancel``."""

    type: Literal["response.cancel"]
    response_id: str | None = None


class OutputClear(BaseEvent):
    """``output_audio_buffer.clear``."""

    type: Literal["output_audio_buffer.clear"]


class Ping(BaseEvent):
    """``onebreath.ping``."""

    type: Literal["onebreath.ping"]
    client_time_ms: float = Field(allow_inf_nan=False)


ClientEvent = Annotated[
    SessionUpdate
    | Append
    | Commit
    | Clear
    | ItemCreate
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
    | OutputClear
    | Ping,
    Field(discriminator="type"),
]
CLIENT_EVENT: TypeAdapter[ClientEvent] = TypeAdapter(ClientEvent)


@cache
def known_types() -> tuple[str, ...]:
    """The types of all client events, sorted; made once, since a schema takes milliseconds."""
    return tuple(sorted(CLIENT_EVENT.json_schema()["discriminator"]["mapping"]))
