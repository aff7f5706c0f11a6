"""Observers of a call: queues of those who see its events beside the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from agent.protocol import RESUMABLE, ClientMessage
from agent.session.notices import Trouble

log = logging.getLogger("onebreath.observers")

UNSEEN = frozenset({RESUMABLE, "response.output_audio.delta", "response.audio.delta"})
"""Types of events that observers do not see: a secret of the client's, and sound, which over WebRTC
is no event either."""
Events = asyncio.Queue[dict[str, object] | None]
"""Events for one observer; None is the end."""


class Observers:
    """The observers of one call, which stay with it over all its connections."""

    def __init__(self) -> None:
        self._queues: list[Events] = []

    def __len__(self) -> int:
        return len(self._queues)

    def add(self, events: Events) -> None:
        """Let one more see the events."""
        self._queues.append(events)

    def remove(self, events: Events) -> None:
        """Let one go, if it is still here."""
        if events in self._queues:
            self._queues.remove(events)

    def show(self, event: dict[str, object]) -> None:
        """Show an event to all; one that reads too slowly is let go."""
        if event["type"] not in UNSEEN:
            self._put(event)

    def end(self) -> None:
        """Tell all that the call is over."""
        self._put(None)

    def _put(self, event: dict[str, object] | None) -> None:
        for events in list(self._queues):
            try:
                events.put_nowait(event)
            except asyncio.QueueFull:
                log.warning("an observer reads too slowly and is let go")
                self._queues.remove(events)


@runtime_checkable
class Observable(Protocol):
    """A transport that shows its events to observers, and reads theirs."""

    observers: Observers

    def beside(self, message: str | bytes) -> Iterator[ClientMessage | Trouble]:
        """Read an event of an observer."""
