"""Reader of one client's text events, which checks them and counts bad ones."""

from __future__ import annotations

from agent.protocol import BadEvent, ClientMessage, Pinged, parse
from agent.session.events import CommitAudio, Configure, RespondNow, TextTyped
from agent.session.notices import Trouble

MAX_BAD_EVENTS = 100
"""Unreadable events after which a call is ended."""


WITH_WORK = (CommitAudio, Configure, RespondNow, TextTyped)
"""Events for which engines compute."""


def begins_turn(item: ClientMessage | Pinged | Trouble) -> int:
    """1 for an event that sets engines to work, which has a rate of its own; else 0."""
    return int(isinstance(item, WITH_WORK))


class EventReader:
    """Reads the events of one client; an unreadable event becomes ``Trouble`` for it.

    Args:
        max_message: characters of one event.
    """

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._bad_events = 0

    @property
    def exhausted(self) -> bool:
        """Whether the client sent too many unreadable events."""
        return self._bad_events > MAX_BAD_EVENTS

    def read(self, message: str | bytes) -> list[ClientMessage | Pinged | Trouble]:
        """The inputs that ``message`` stands for, or the ``Trouble`` with it."""
        try:
            return list(parse(self._checked(message)))
        except BadEvent as error:
            return [self.refuse(error.trouble)]

    def refuse(self, trouble: Trouble) -> Trouble:
        """Count an event that cannot be accepted; returns its ``trouble``."""
        self._bad_events += 1
        return trouble

    def _checked(self, message: str | bytes) -> str:
        if isinstance(message, bytes):
            text = (
                f"a binary message of {len(message)} bytes; events are JSON text, "
                "audio goes base64 into input_audio_buffer.append"
            )
            raise BadEvent(Trouble("invalid_message", text))
        if len(message) > self._max_message:
            text = (
                f"the event has {len(message)} characters; "
                f"{self._max_message} are allowed, so send less at once"
            )
            raise BadEvent(Trouble("message_too_large", text))
        return message
