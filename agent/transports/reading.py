"""Reader of one client's events, which checks them and counts bad ones."""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Iterator
from typing import Protocol

from agent.protocol import (
    AppendedAudio,
    BadEvent,
    ClientEvents,
    ClientMessage,
    Identified,
    Pinged,
    Reading,
)
from agent.session.events import CommitAudio, Configure, CreateItem, RespondNow, TextTyped
from agent.session.notices import Trouble
from agent.transports.pace import TOO_FAST, Pace

MAX_BAD_EVENTS = 100
"""Messages that are no events at all (no JSON, too large) after which a call is ended."""
EVENT_ID = re.compile(r'"event_id"\s*:\s*"([^"\\]{1,512})"')
ENDS = 1024
"""Characters of both ends of a message that are searched for its id."""
SPACE = codecs.BOM_UTF8 + b" \t\r\n"
"""What may be in front of the JSON of a binary message."""
UNREADABLE = frozenset({"invalid_json", "invalid_message", "message_too_large"})


class Allowance(Protocol):
    """A rate of events, which several connections may share."""

    def take(self) -> bool:
        """Count one event; returns whether it is within the rate."""


TOO_MANY = Trouble(
    "rate_limit_exceeded", "this key's rate of events is spent; the event was not read"
)


WITH_WORK = (CommitAudio, Configure, CreateItem, RespondNow, TextTyped)
"""Events for which engines compute."""


def begins_turn(item: ClientMessage | Pinged | Trouble) -> int:
    """1 for an event that sets engines to work, which has a rate of its own; else 0."""
    event = item.input if isinstance(item, Identified) else item
    return int(isinstance(event, WITH_WORK))


NO_SOUND = Trouble(
    "invalid_value", "the sound of this call is its client's; send other events", param="type"
)


class EventReader:
    """Reads the events of one client; an unreadable event becomes ``Trouble`` for it.

    Args:
        max_message: characters of one event.
        reading: the state of the session that the meaning of events depends on.

    Attributes:
        allowance: the rate of events of the client's key; None for no limit.
    """

    def __init__(self, max_message: int, reading: Reading | None = None) -> None:
        self._max_message = max_message
        self._events = ClientEvents(reading)
        self._bad_events = 0
        self.allowance: Allowance | None = None

    @property
    def exhausted(self) -> bool:
        """Whether the client sent too many messages that are no events."""
        return self._bad_events > MAX_BAD_EVENTS

    def read(self, message: str | bytes) -> list[ClientMessage | Pinged | Trouble]:
        """The inputs that ``message`` stands for, or the ``Trouble`` with it."""
        if self.allowance is not None and not self.allowance.take():
            return [TOO_MANY]
        try:
            return list(self._events.parse(self._checked(message)))
        except BadEvent as error:
            return [self.refuse(error.trouble)]

    def refuse(self, trouble: Trouble) -> Trouble:
        """Count a message that cannot be read at all; returns its ``trouble``."""
        self._bad_events += trouble.code in UNREADABLE
        return trouble

    def _checked(self, message: str | bytes) -> str:
        if isinstance(message, bytes):
            message = _decoded(message)
        if len(message) > self._max_message:
            text = (
                f"the event has {len(message)} characters; "
                f"{self._max_message} are allowed, so send less at once"
            )
            raise BadEvent(Trouble("message_too_large", text, event_id=_event_id(message)))
        return message


def _decoded(message: bytes) -> str:
    """The text of a binary message: some websocket libraries send all that they are given as bytes.

    Raises:
        BadEvent: it is no text of an event, such as raw sound.
    """
    if message[:ENDS].lstrip(SPACE).startswith(b"{"):
        with contextlib.suppress(UnicodeDecodeError):
            return message.decode("utf-8-sig")
    text = (
        f"a binary message of {len(message)} bytes; events are JSON, "
        "audio goes base64 into input_audio_buffer.append"
    )
    raise BadEvent(Trouble("invalid_message", text))


def read_beside(
    reader: EventReader, pace: Pace, message: str | bytes
) -> Iterator[ClientMessage | Trouble]:
    """Read an event of one that controls a call beside its client; it counts as the client's."""
    for item in reader.read(message):
        if not pace.allow(len(message), begins_turn(item)):
            yield reader.refuse(TOO_FAST)
        elif isinstance(item, AppendedAudio):
            yield reader.refuse(NO_SOUND)
        elif not isinstance(item, Pinged):
            yield item


def _event_id(message: str) -> str | None:
    """The id of an event that is too large to be parsed, from its beginning or its end."""
    found = EVENT_ID.search(message[:ENDS]) or EVENT_ID.search(message[-ENDS:])
    return None if found is None else found[1]
