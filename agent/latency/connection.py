"""Connections from a test caller to an agent, and the events that a caller receives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.audio.samples import Samples


@dataclass(frozen=True, slots=True)
class ReceivedAudio:
    """Audio of the agent, to be played after the audio that is still playing.

    Attributes:
        samples: float32 mono at the connection's rate.
    """

    samples: Samples


@dataclass(frozen=True, slots=True)
class ReceivedSpeechStart:
    """The agent detected the start of the caller's speech."""


@dataclass(frozen=True, slots=True)
class ReceivedSpeechStop:
    """The agent detected the end of the caller's speech."""


@dataclass(frozen=True, slots=True)
class ReceivedClear:
    """The audio that has not been played yet is to be dropped."""


@dataclass(frozen=True, slots=True)
class ReceivedTranscript:
    """The agent's transcript of a turn."""

    text: str


@dataclass(frozen=True, slots=True)
class ReceivedReplyStart:
    """A reply begins; all audio up to its ``ReceivedReplyEnd`` belongs to it."""


@dataclass(frozen=True, slots=True)
class ReceivedReplyEnd:
    """The last audio of a reply was sent; it may go on playing for a while.

    Attributes:
        text: words of the reply.
        stats: counts of the responder by name, if the agent reports them.
        error: reason of a failed reply; None: the reply succeeded.
        cut: whether the reply was cancelled before its end.
    """

    text: str
    stats: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ReceivedTimings:
    """The server's own timings of a turn.

    Attributes:
        spans_ms: milliseconds by span name; they sum to the latency that the server measured.
        speech_end_ms: end of the caller's speech as the server detected it, in milliseconds of
            the caller's audio.
        details: the whole event.
    """

    spans_ms: Mapping[str, float]
    speech_end_ms: float | None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReceivedError:
    """The agent reported an error."""

    message: str


ReceivedEvent = (
    ReceivedAudio
    | ReceivedSpeechStart
    | ReceivedSpeechStop
    | ReceivedClear
    | ReceivedTranscript
    | ReceivedReplyStart
    | ReceivedReplyEnd
    | ReceivedTimings
    | ReceivedError
)


class AgentConnection(Protocol):
    """One call to an agent over some transport; ``send`` and ``receive`` run concurrently."""

    @property
    def rate(self) -> int:
        """Samples per second in both directions."""

    @property
    def reports_replies(self) -> bool:
        """Whether the agent reports where a reply begins and ends; otherwise silence ends it."""

    @property
    def resends(self) -> bool:
        """Whether lost packets are retransmitted (TCP) or lost for good (RTP)."""

    async def connect(self) -> None:
        """Open the connection and start the call.

        Raises:
            CallError: the agent does not answer or refuses the call.
        """

    async def send(self, frame: Samples) -> None:
        """Send the next 20 ms of the caller's audio, float32 mono at ``rate``.

        Raises:
            CallError: the connection was lost.
        """

    def receive(self) -> AsyncIterator[ReceivedEvent]:
        """Yield audio and events as they arrive.

        Raises:
            CallError: the agent hung up, or the connection was lost.
        """

    async def close(self) -> None:
        """Hang up."""


class AroundConnection:
    """The beginning of a connection that changes or notes what goes over another one.

    Args:
        connection: connection to the agent.
    """

    def __init__(self, connection: AgentConnection) -> None:
        self._connection = connection

    @property
    def rate(self) -> int:
        return self._connection.rate

    @property
    def reports_replies(self) -> bool:
        return self._connection.reports_replies

    @property
    def resends(self) -> bool:
        return self._connection.resends

    async def connect(self) -> None:
        await self._connection.connect()

    async def close(self) -> None:
        await self._connection.close()
