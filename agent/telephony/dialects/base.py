"""The one shape that all telephone peers are brought to.

A dialect is pure: what the peer says goes in as bytes or text and comes out as events; what the
agent wants goes in as calls and comes out as messages. It reads no clock and owns no socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.audio.samples import Samples
from agent.errors import CallError, ProtocolError

WireMessage = str | bytes
"""One message: text or binary."""


class DialectError(ProtocolError):
    """The peer said what its protocol does not allow; the call cannot go on."""


class Unsupported(CallError):
    """The peer's socket has no such command."""


@dataclass(frozen=True, slots=True)
class Started:
    """The peer named the call and the form of the sound, which is the same both ways."""

    call_id: str
    stream_id: str
    rate: int
    """Samples per second."""
    caller: str = ""
    called: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the set-up of the call handed on. Callers may have a say in it: never trust it."""
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """What the caller said."""

    samples: Samples
    at: float | None = None
    """Seconds since the stream began, where the peer tells; a jump is sound that was lost."""


@dataclass(frozen=True, slots=True)
class MarkReached:
    """Everything before the mark was played, or dropped by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class Dtmf:
    """A key was pressed; it may be part of a secret, so it is not shown."""

    digit: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """The peer can take no more sound for now."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """It can again."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """The peer did not like what it was sent."""

    message: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The call is over."""

    reason: str


PeerEvent = Started | AudioReceived | MarkReached | Dtmf | Held | Resumed | Complaint | Stopped


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a peer can do. The rate is known only once the call has started."""

    marks: bool = True
    """It tells when sound was played."""
    frame_samples: int | None = None
    """Sound is sent in pieces of exactly this size; None: of 20 ms."""
    max_lead: float = 10.0
    """Seconds of sound that it can hold."""
    steady: bool = True
    """Sound comes from it without a pause, so a silent socket is a dead one."""


class Dialect(Protocol):
    """One peer's protocol for one call."""

    capabilities: Capabilities

    def read(self, message: WireMessage) -> list[PeerEvent]:
        """What a message says; unknown kinds say nothing.

        Raises:
            DialectError: it is malformed, or comes at a wrong time.
        """

    def sound(self, samples: Samples) -> list[WireMessage]:
        """Play a frame, at the rate of ``Started``."""

    def mark(self, name: str) -> list[WireMessage]:
        """Tell when everything so far was played; nothing where the peer has no marks."""

    def clear(self) -> list[WireMessage]:
        """Drop what was not played; nothing where the peer cannot."""

    def hang_up(self) -> list[WireMessage]:
        """End the call; closing the socket follows, which alone ends it at most providers."""

    def transfer(self, destination: str) -> list[WireMessage]:
        """Hand the call to another party.

        Raises:
            Unsupported: it takes more than this socket.
        """
