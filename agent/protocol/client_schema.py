"""Schema of the client events. Unknown fields are accepted; a value of a wrong kind is an error."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

MAX_TEXT = 32_768
"""Characters of one message, or of one function's output, at most."""
MAX_ID = 64
"""Characters of an id, at most."""
MAX_PARTS = 32
"""Parts of one message, at most."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]
OptionalId = Annotated[Id | None, BeforeValidator(lambda value: None if value == "" else value)]
"""An id that may be left out; clients in typed languages write the empty text for that."""


def _whole(value: Any) -> Any:
    """A fraction of a millisecond, which divisions of clients yield, is rounded."""
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


def _role(value: Any) -> Any:
    """The newer name of the system's role is the same role."""
    return "system" if value == "developer" else value


def _argument_text(value: Any) -> Any:
    """Arguments as text; nothing, which some clients send for a call without any, is ``{}``."""
    if value is None or value == "":
        return "{}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


Milliseconds = Annotated[int, BeforeValidator(_whole)]


class Lenient(BaseModel):
    """An object whose unknown fields are accepted and ignored."""

    model_config = ConfigDict(extra="ignore")


class Noted(BaseModel):
    """An object whose unknown fields are accepted and told of as not applied."""

    model_config = ConfigDict(extra="allow")


class BaseEvent(Lenient):
    """The common part of all client events."""

    event_id: str | None = Field(None, max_length=512)


class SessionUpdate(BaseEvent):
    """``session.update``; `agent.protocol.session_settings` reads the session."""

    session: dict[str, Any]


class Append(BaseEvent):
    """``input_audio_buffer.append``; ``audio`` is base64."""

    audio: str


class Commit(BaseEvent):
    """``input_audio_buffer.commit``."""


class Clear(BaseEvent):
    """``input_audio_buffer.clear``."""


class ContentPart(Lenient):
    """A part of a message."""

    type: Literal["input_text", "text", "output_text", "input_audio", "audio", "output_audio"]
    text: str | None = Field(None, max_length=MAX_TEXT)
    audio: str | None = None
    transcript: str | None = Field(None, max_length=MAX_TEXT)


class MessageItem(Lenient):
    """A message of the caller, of the agent, or about the conversation."""

    type: Literal["message"] = "message"
    id: OptionalId = None
    role: Annotated[Literal["user", "assistant", "system"], BeforeValidator(_role)]
    content: list[Any] | str | None = Field(None, max_length=MAX_TEXT)


class FunctionCallItem(Lenient):
    """A call of a function that was made elsewhere."""

    type: Literal["function_call"]
    id: OptionalId = None
    call_id: OptionalId = None
    name: str = Field(min_length=1, max_length=MAX_ID)
    arguments: Annotated[str, BeforeValidator(_argument_text)] = Field("{}", max_length=MAX_TEXT)


class FunctionCallOutputItem(Lenient):
    """The output of a call."""

    type: Literal["function_call_output"]
    id: OptionalId = None
    call_id: Id
    output: Any


class ItemReference(Lenient):
    """An item of the conversation, in the input of one reply."""

    type: Literal["item_reference"]
    id: Id


class ItemCreate(BaseEvent):
    """``conversation.item.create``."""

    item: dict[str, Any]
    previous_item_id: OptionalId = None


class ItemTruncate(BaseEvent):
    """``conversation.item.truncate``."""

    item_id: str = Field(max_length=MAX_ID)
    content_index: int | None = 0
    audio_end_ms: Milliseconds = Field(ge=0, le=86_400_000)


class ItemRetrieve(BaseEvent):
    """``conversation.item.retrieve``."""

    item_id: str = Field(max_length=MAX_ID)


class ItemDelete(BaseEvent):
    """``conversation.item.delete``."""

    item_id: str = Field(max_length=MAX_ID)


class ResponseCreate(BaseEvent):
    """``response.create``; `agent.protocol.response_options` reads the response."""

    response: dict[str, Any] | None = None


class ResponseCancel(BaseEvent):
    """``response.cancel``."""

    response_id: str | None = None


class OutputClear(BaseEvent):
    """``output_audio_buffer.clear``."""


class Decide(BaseEvent):
    """``onebreath.decide``; `agent.protocol.decision_options` reads the questions."""

    questions: list[Any] = Field([], max_length=32)


class Ping(BaseEvent):
    """``onebreath.ping``."""

    client_time_ms: float = Field(allow_inf_nan=False)
    server_time_ms: float | None = Field(None, allow_inf_nan=False)


class DeviceChange(BaseEvent):
    """``onebreath.device.changed``."""


EVENTS: dict[str, type[BaseEvent]] = {
    "session.update": SessionUpdate,
    "transcription_session.update": SessionUpdate,
    "input_audio_buffer.append": Append,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
    "conversation.item.create": ItemCreate,
    "conversation.item.truncate": ItemTruncate,
    "conversation.item.retrieve": ItemRetrieve,
    "conversation.item.delete": ItemDelete,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
    "output_audio_buffer.clear": OutputClear,
    "onebreath.decide": Decide,
    "onebreath.ping": Ping,
    "onebreath.device.changed": DeviceChange,
}
"""The client events by type."""
ITEMS: dict[str, type[MessageItem | FunctionCallItem | FunctionCallOutputItem | ItemReference]] = {
    "message": MessageItem,
    "function_call": FunctionCallItem,
    "function_call_output": FunctionCallOutputItem,
    "item_reference": ItemReference,
}
"""The items that a client may create, by type."""
