"""What a session decides: work for the engines, notices for the client, the end of the call."""

from __future__ import annotations

from dataclasses import dataclass

from agent.audio.samples import Samples
from agent.reply import Message
from agent.session.notices import Notice


@dataclass(frozen=True, slots=True)
class FeedRecogniser:
    """Give sound of the open turn to the recogniser."""

    turn: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class DecodePartial:
    """Ask for a hypothesis; less urgent than everything else, unless it decides on a barge-in."""

    turn: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class DecodeFinal:
    """Ask for all words of the turn so far; ``revision`` counts the pauses within it."""

    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class JudgePause:
    """Ask the turn model whether the sound so far ends the turn."""

    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class CancelDecode:
    """The words are not wanted any more, as the caller goes on: skip a decode not begun yet."""

    turn: int


@dataclass(frozen=True, slots=True)
class DropTurnAudio:
    """Drop the sound of a turn."""

    turn: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Put what is known of the prompt into the cache ahead of time."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer; everything that belongs to the answer carries ``generation``."""

    generation: int
    messages: tuple[Message, ...]
    deadline: float | None = None
    """Monotonic second at which the words should be there."""


@dataclass(frozen=True, slots=True)
class Speak:
    """Turn one segment of a reply into sound; segments are spoken in order."""

    generation: int
    segment: int
    text: str


@dataclass(frozen=True, slots=True)
class EndSpeech:
    """No more segments follow."""

    generation: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stop all work for a generation; what still arrives of it is ignored."""

    generation: int


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a ``Tick`` at this monotonic second; a later command replaces an earlier one."""

    when: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call."""

    code: int
    reason: str


EngineTask = (
    FeedRecogniser
    | DecodePartial
    | DecodeFinal
    | JudgePause
    | CancelDecode
    | DropTurnAudio
    | Prepare
    | Respond
    | Speak
    | EndSpeech
    | Abandon
)
"""The part of the commands that is work for the engines."""

Command = EngineTask | WakeAt | HangUp | Notice
