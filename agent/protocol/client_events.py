"""Reader of client events: JSON text in, session inputs or a clear error out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.audio.samples import Samples
from agent.protocol.abilities import Reading
from agent.protocol.client_schema import (
    EVENTS,
    Append,
    BaseEvent,
    Clear,
    Commit,
    Decide,
    DeviceChange,
    ItemCreate,
    ItemDelete,
    ItemRetrieve,
    ItemTruncate,
    OutputClear,
    Ping,
    ResponseCancel,
    ResponseCreate,
    SessionUpdate,
)
from agent.protocol.decision_options import read_questions
from agent.protocol.item_schema import read_item
from agent.protocol.json_text import read_json
from agent.protocol.objects import WIRE_RATE
from agent.protocol.problems import BadEvent, bad_value, checked
from agent.protocol.response_options import read_response
from agent.protocol.session_settings import read_session
from agent.protocol.sound import SoundReader
from agent.session.events import (
    CancelReply,
    ClearAudio,
    CommitAudio,
    CreateItem,
    DeleteItem,
    DeviceChanged,
    Input,
    RetrieveItem,
    Truncate,
)
from agent.session.notices import Trouble

MAX_ECHO = 512
"""Characters of an event's id that an error repeats."""


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
        server_time_ms: of the newest pong that the client has; None: it does not tell.
    """

    client_time_ms: float
    server_time_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Identified:
    """An input with the id of the event that it came by, which an error names.

    Attributes:
        event_id: the client's id.
    """

    input: Input
    event_id: str


ClientMessage = AppendedAudio | Input | Identified


class ClientEvents:
    """Reads the events of one client, in order.

    Attributes:
        reading: the state of the session that the meaning of events depends on.
    """

    def __init__(self, reading: Reading | None = None) -> None:
        self.reading = reading or Reading()
        self._sound = SoundReader(WIRE_RATE)

    def parse(self, text: str | bytes) -> Sequence[ClientMessage | Pinged]:
        """Read one client event.

        Raises:
            BadEvent: the text is not JSON, or has an unknown type or a value that makes no sense.
        """
        body = _object(text)
        event_id = body.get("event_id")
        known = event_id if isinstance(event_id, str) and event_id else None
        try:
            message = self._translate(_event(body))
        except BadEvent as error:
            echo = None if known is None else known[:MAX_ECHO]
            raise BadEvent(replace(error.trouble, event_id=echo)) from None
        if known is None or isinstance(message, AppendedAudio | Pinged):
            return [message]
        return [Identified(message, known[:MAX_ECHO])]

    def _translate(self, event: BaseEvent) -> AppendedAudio | Pinged | Input:
        match event:
            case Append():
                return AppendedAudio(self._sound.read(event.audio, self.reading.input_format))
            case Commit():
                self._sound.forget()
                return CommitAudio()
            case Clear():
                self._sound.forget()
                return ClearAudio()
            case ItemCreate():
                item = read_item(event.item, self.reading.input_format, "item")
                if item.kind == "reference":
                    raise bad_value("item.type", "a reference is for the input of a response")
                return CreateItem(item, event.previous_item_id)
            case ItemRetrieve():
                return RetrieveItem(event.item_id)
            case ItemDelete():
                return DeleteItem(event.item_id)
            case ItemTruncate():
                return Truncate(event.item_id, event.audio_end_ms / 1000)
            case ResponseCreate():
                return read_response(event.response, self.reading)
            case ResponseCancel():
                return CancelReply(event.response_id)
            case OutputClear():
                return CancelReply(quiet=True)
            case SessionUpdate():
                return read_session(event.session, self.reading)
            case Decide():
                return read_questions(event.questions)
            case DeviceChange():
                return DeviceChanged()
            case Ping():
                return Pinged(event.client_time_ms, event.server_time_ms)
            case _:
                raise AssertionError(event)


def parse(text: str | bytes) -> Sequence[ClientMessage | Pinged]:
    """Read one client event of a new session; see `ClientEvents.parse`."""
    return ClientEvents().parse(text)


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        body = read_json(text)
    except ValueError as error:
        message = f"an event must be a JSON object: {error}"
        raise BadEvent(Trouble("invalid_json", message)) from None
    if not isinstance(body, dict):
        message = "an event must be a JSON object with a type"
        raise BadEvent(Trouble("invalid_json", message))
    return body


def _event(body: dict[str, Any]) -> BaseEvent:
    kind = body.get("type")
    model = EVENTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        known = ", ".join(sorted(EVENTS))
        said = "the event has no type" if kind is None else f"unknown event type {str(kind)[:60]!r}"
        message = f"{said}; there are {known}"
        raise BadEvent(Trouble("unknown_event", message, param="type"))
    if kind == "transcription_session.update" and isinstance(body.get("session"), dict):
        body = {**body, "session": {"type": "transcription", **body["session"]}}
    return checked(model, body)
