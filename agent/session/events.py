"""What a session is told: a closed union of frozen dataclasses, ``Input``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.audio.samples import AudioChunk
from agent.reply import ReplyPiece
from asr.transcript import Transcript
from tts.engine import SpeechChunk

# ---- inputs: from the caller -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """One frame of the caller's sound with its speech probability."""

    chunk: AudioChunk
    probability: float


@dataclass(frozen=True, slots=True)
class TextTyped:
    """The caller typed instead of speaking."""

    text: str
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """The caller says that the turn is over."""


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """The caller takes back what was heard of the open turn."""


@dataclass(frozen=True, slots=True)
class RespondNow:
    """The caller asks for a reply."""


@dataclass(frozen=True, slots=True)
class CancelReply:
    """The caller wants no more of the running reply, or of the one with this id."""

    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """The client tells how much of a reply was really played."""

    item_id: str
    played: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Configure:
    """The client changes the session; None leaves a value as it is."""

    instructions: str | None = None
    turn_detection: bool | None = None
    semantic: bool | None = None
    """Whether the words have a say in when a turn is over."""
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    """The client's word for how long a pause may be where the words have a say."""
    idle_after: float | None = None
    """Infinite: never."""
    threshold: float | None = None
    endpoint_delay: float | None = None
    """Seconds of silence that end a turn where they have none."""
    pre_roll: float | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


# ---- inputs: from the engines ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """A hypothesis of the open turn."""

    turn: int
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class FinalTranscript:
    """All words of a turn, up to the pause that they were asked for in."""

    turn: int
    revision: int
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class PauseJudged:
    """The turn model's probability that a pause ends the turn."""

    turn: int
    revision: int
    probability: float


@dataclass(frozen=True, slots=True)
class ReplyEvent:
    """The next piece of a reply, as the responder yields it."""

    generation: int
    piece: ReplyPiece


@dataclass(frozen=True, slots=True)
class SoundReady:
    """Sound of one segment of the reply."""

    generation: int
    segment: int
    chunk: SpeechChunk


@dataclass(frozen=True, slots=True)
class SegmentSpoken:
    """All sound of one segment has been made."""

    generation: int
    segment: int


@dataclass(frozen=True, slots=True)
class StageFailed:
    """An engine could not do its part."""

    stage: Literal["asr", "responder", "tts"]
    message: str
    turn: int = 0
    revision: int = 0
    generation: int = 0


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The media path stands."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; sent when a ``WakeAt`` is due."""


Input = (
    CallStarted
    | AudioFrame
    | TextTyped
    | CommitAudio
    | ClearAudio
    | RespondNow
    | CancelReply
    | Truncate
    | Configure
    | PartialTranscript
    | FinalTranscript
    | PauseJudged
    | ReplyEvent
    | SoundReady
    | SegmentSpoken
    | StageFailed
    | Tick
)
