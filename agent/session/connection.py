"""The connection to the client, which may be absent for a while: one table of what happens to it.

A session outlives its connection only where the client asked for it. While nobody is there,
nothing is played and no silence is measured; work that was begun goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class ConnectionState(Enum):
    """Whether the client is there."""

    UP = auto()
    LOST = auto()
    """The connection ended without hang-up; the session waits for another."""
    OVER = auto()
    """Nobody came back in time."""


class ConnectionEvent(Enum):
    """What happens to the connection."""

    LOST = auto()
    RESUMED = auto()
    """The client is there over another connection."""
    DEADLINE = auto()
    """The time to come back has passed."""


class ConnectionAction(Enum):
    """What the session does about it."""

    NOTHING = auto()
    HOLD = auto()
    """Hold the agent's sound back and stop the clocks that measure the caller's silence."""
    GO_ON = auto()
    """Tell the client where the conversation stands, and go on from the word heard last."""
    END = auto()


TABLE: dict[tuple[ConnectionState, ConnectionEvent], tuple[ConnectionState, ConnectionAction]] = {
    (ConnectionState.UP, ConnectionEvent.LOST): (ConnectionState.LOST, ConnectionAction.HOLD),
    # The old connection is dead, or worse than the new one, and the server had not noticed.
    (ConnectionState.UP, ConnectionEvent.RESUMED): (ConnectionState.UP, ConnectionAction.GO_ON),
    (ConnectionState.LOST, ConnectionEvent.RESUMED): (ConnectionState.UP, ConnectionAction.GO_ON),
    (ConnectionState.LOST, ConnectionEvent.DEADLINE): (ConnectionState.OVER, ConnectionAction.END),
}
"""The next state and what is done; a pair that is not listed changes nothing."""


TELL_SECONDS: Final = 10.0
"""Seconds between two remarks that the connection is slow."""
SLOW_ADVICE: Final = (
    "the connection takes less sound than is spoken, so the reply is held back; ask for audio/pcmu "
    "(session.update, audio.output.format and audio.input.format), a sixth of PCM, or use WebRTC"
)


@dataclass(slots=True)
class Connection:
    """The connection of one session.

    Attributes:
        patience: seconds for which the session waits without a client; 0: it never does.
        state: whether the client is there.
        last_seen: monotonic second at which the client was last known to be there, while it is
            lost.
        deadline: monotonic second until which it may come back; infinite while it is there.
        congested: whether so much sound waits for the connection that no more may follow.
        told_slow: monotonic second at which the client was last told so.
    """

    patience: float = 0.0
    state: ConnectionState = ConnectionState.UP
    last_seen: float = 0.0
    deadline: float = math.inf
    congested: bool = False
    told_slow: float = -math.inf

    @property
    def up(self) -> bool:
        """Whether the client is there."""
        return self.state is ConnectionState.UP

    def take(self, event: ConnectionEvent, now: float, seen: float) -> ConnectionAction:
        """Take what happened at ``now``; returns what is to be done about it.

        Args:
            seen: monotonic second at which the client was last known to be there.
        """
        was = self.state
        self.state, action = TABLE.get((was, event), (was, ConnectionAction.NOTHING))
        if action in (ConnectionAction.HOLD, ConnectionAction.GO_ON):
            # What waited for the old connection is dropped, and the new one was told nothing.
            self.congested, self.told_slow = False, -math.inf
        if action is ConnectionAction.HOLD:
            self.last_seen, self.deadline = seen, now + self.patience
        elif action is ConnectionAction.GO_ON:
            self.last_seen = seen if was is ConnectionState.UP else self.last_seen
            self.deadline = math.inf
        return action

    def congest(self, full: bool, now: float) -> bool:
        """Take how much sound waits; returns whether the client is to be told of it."""
        self.congested = full
        tell = full and now - self.told_slow >= TELL_SECONDS
        if tell:
            self.told_slow = now
        return tell

    def expire(self, now: float) -> ConnectionAction:
        """Take the passing of time."""
        if now < self.deadline:
            return ConnectionAction.NOTHING
        return self.take(ConnectionEvent.DEADLINE, now, self.last_seen)
