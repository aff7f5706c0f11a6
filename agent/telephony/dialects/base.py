"""The interface of a dialect: one provider's protocol as events and messages.

A dialect is pure. The peer's messages go in as bytes or text and come out as events; commands of
the agent go in as method calls and come out as messages. It reads no clock and owns no socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.audio.samples import Samples
from agent.errors import ProtocolError

WireMessage = str | bytes
"""One message of a media connection: text or binary."""


class DialectError(ProtocolError):
    """The peer violated its protocol; the call cannot go on."""


@dataclass(frozen=True, slots=True)
class Started:
    """The call has started; the form of the audio is the same both ways.

    Attributes:
        call_id: the provider's id of the call.
        stream_id: the provider's id of the media stream.
        rate: samples per second.
        caller: number or address of the caller; empty where the provider does not tell.
        called: number or address that was called; empty likewise.
        parameters: values from the set-up of the call. Callers may influence them: never trust
            them.
        token: the token of the webhook's answer, if it came in the messages.
    """

    call_id: str
    stream_id: str
    rate: int
    caller: str = ""
    called: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """A piece of the caller's audio.

    Attributes:
        samples: float32 mono at the rate of ``Started``.
        at: seconds since the stream began, where the peer tells; a jump means lost audio.
    """

    samples: Samples
    at: float | None = None


@dataclass(frozen=True, slots=True)
class MarkReached:
    """The audio before the mark ``name`` was played, or dropped by a clear."""

    name: str


@dataclass(frozen=True, slots=True)
class Dtmf:
    """The caller pressed a key, which is not shown: it may be part of a secret."""

    digit: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """The peer cannot take more audio for now."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The peer takes audio again."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """The peer reports an error in a message it was sent, or sends what means nothing here."""

    message: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The peer ended the call."""

    reason: str


PeerEvent = Started | AudioReceived | MarkReached | Dtmf | Held | Resumed | Complaint | Stopped


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of a peer. Some are known only once the call has started.

    Attributes:
        marks: whether the peer reports played marks.
        frame_samples: exact number of samples of one audio message; None for 20 ms.
        max_lead: seconds of audio that the peer can hold.
        steady: whether its audio comes without pauses, so that a silent socket is dead.
    """

    marks: bool = True
    frame_samples: int | None = None
    max_lead: float = 10.0
    steady: bool = True


class Dialect(Protocol):
    """One peer's protocol for one call."""

    capabilities: Capabilities

    def read(self, message: WireMessage) -> list[PeerEvent]:
        """The events of a message; unknown kinds of messages have none.

        Raises:
            DialectError: it is malformed, or comes at a wrong time.
        """

    def sound(self, samples: Samples) -> list[WireMessage]:
        """Messages that play a frame, float32 mono at the rate of ``Started``."""

    def mark(self, name: str) -> list[WireMessage]:
        """Messages that ask for ``MarkReached``; empty where the peer has no marks."""

    def clear(self) -> list[WireMessage]:
        """Messages that drop unplayed audio; empty where the peer has no such command."""

    def hang_up(self) -> list[WireMessage]:
        """Messages that end the call; at most providers, closing the socket does."""
