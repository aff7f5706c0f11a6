"""What the caller needs of a wire: dial, send 20 ms of sound, take what arrives, hang up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.audio.samples import Samples


@dataclass(frozen=True, slots=True)
class Sound:
    """Sound of the agent, to be played after what still plays."""

    samples: Samples
    """float32 mono at the wire's rate."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The agent noticed that the caller speaks."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The agent noticed that the caller stopped."""


@dataclass(frozen=True, slots=True)
class Hush:
    """Drop the sound that was not played yet."""


@dataclass(frozen=True, slots=True)
class WordsHeard:
    """What the agent understood of a turn."""

    text: str


@dataclass(frozen=True, slots=True)
class ReplyBegan:
    """All sound from here to ``ReplyEnded`` is one reply."""


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The last sound of a reply was sent; it may play for a while yet."""

    text: str
    stats: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ServerSpans:
    """Where the server says that the time went."""

    spans_ms: Mapping[str, float]
    """By name; they sum to what the server takes for the latency."""
    speech_end_ms: float | None
    """Where the server saw the end of speech, in milliseconds of the caller's sound."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """The agent reports an error."""

    message: str


Arrival = (
    Sound
    | SpeechStarted
    | SpeechStopped
    | Hush
    | WordsHeard
    | ReplyBegan
    | ReplyEnded
    | ServerSpans
    | Fault
)


class Wire(Protocol):
    """One call to an agent, as its protocol has it. ``send`` and ``receive`` run side by side."""

    @property
    def rate(self) -> int:
        """Samples per second, both ways."""

    @property
    def tells_replies(self) -> bool:
        """Whether the agent tells where a reply begins and ends; else silence has to."""

    @property
    def resends(self) -> bool:
        """Whether what the network loses comes later (TCP), or never (RTP)."""

    async def dial(self) -> None:
        """Connect.

        Raises:
            CallError: nobody answers, or the call is refused.
        """

    async def send(self, frame: Samples) -> None:
        """Send the next 20 ms of the caller's sound."""

    def receive(self) -> AsyncIterator[Arrival]:
        """Yield what arrives, as it arrives.

        Raises:
            CallError: the agent hung up, or the connection was lost.
        """

    async def close(self) -> None:
        """Hang up."""
