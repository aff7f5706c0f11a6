"""The vocabulary of a call: what a session is told and what it decides.

Two closed unions of frozen dataclasses. ``Input`` goes into ``Session.handle``;
``Command`` comes out of it. ``Notice`` is the part of the commands that is meant
for the client; ``agent/protocol.py`` puts it on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agent.audio import AudioChunk, Samples
from agent.reply import CanvasStep, Message, Prefilled, ReplyDone
from asr.transcript import Transcript
from tts.engine import SpeechChunk

# ---- inputs: from the caller -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """One frame of the caller's sound with its speech probability."""

    chunk: AudioChunk
    probability: float


@dataclass(frozen=True, slots=True)
class TextSaid:
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
    """The caller wants no more of the running reply."""


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
    threshold: float | None = None
    endpoint_delay: float | None = None
    pre_roll: float | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


# ---- inputs: from the engines ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartialHeard:
    """A hypothesis of the open turn."""

    turn: int
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class FinalHeard:
    """The words of a finished turn."""

    turn: int
    revision: int
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class PromptReady:
    """The prompt of a reply is in the cache."""

    generation: int
    prefilled: Prefilled


@dataclass(frozen=True, slots=True)
class Denoised:
    """The canvas after one more step."""

    generation: int
    step: CanvasStep


@dataclass(frozen=True, slots=True)
class TextReady:
    """Words of the reply that will not change any more."""

    generation: int
    text: str


@dataclass(frozen=True, slots=True)
class ReplyComplete:
    """All words of the reply are known."""

    generation: int
    done: ReplyDone


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
    generation: int = 0


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The media path stands."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed; sent when a ``WakeAt`` is due."""


Input = (
    CallStarted
    | Heard
    | TextSaid
    | CommitAudio
    | ClearAudio
    | RespondNow
    | CancelReply
    | Truncate
    | Configure
    | PartialHeard
    | FinalHeard
    | PromptReady
    | Denoised
    | TextReady
    | ReplyComplete
    | SoundReady
    | SegmentSpoken
    | StageFailed
    | Tick
)

# ---- commands: to the engines ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hear:
    """Give sound of the open turn to the recogniser."""

    turn: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class DecodePartial:
    """Ask for a hypothesis; less urgent than everything else."""

    turn: int


@dataclass(frozen=True, slots=True)
class DecodeFinal:
    """Ask for the words of the turn; ``revision`` counts the attempts within the turn."""

    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class Forget:
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


@dataclass(frozen=True, slots=True)
class Speak:
    """Turn one segment of a reply into sound; segments are spoken in order."""

    generation: int
    segment: int
    text: str


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


# ---- commands: notices for the client ----------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    item_id: str
    audio_start: float
    """Seconds since the call began."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    item_id: str
    audio_end: float


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class AudioCleared:
    """The open turn was taken back."""


@dataclass(frozen=True, slots=True)
class WordsHeard:
    """What the caller said; ``final`` closes the item, ``delta`` is new stable text."""

    item_id: str
    text: str
    delta: str
    final: bool


@dataclass(frozen=True, slots=True)
class TextAccepted:
    """A typed message is part of the conversation now."""

    item_id: str
    previous_item_id: str | None
    text: str


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    response_id: str
    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ReplyWords:
    """Words of the reply that are about to be spoken."""

    response_id: str
    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class CanvasShown:
    """The canvas after one denoising step, for those who want to watch."""

    response_id: str
    step: CanvasStep


@dataclass(frozen=True, slots=True)
class Play:
    """Sound for the caller's ear, paced."""

    response_id: str
    item_id: str
    samples: Samples
    rate: int


@dataclass(frozen=True, slots=True)
class StopPlaying:
    """Drop at once what was not heard yet of this reply."""

    response_id: str
    item_id: str
    heard: float
    """Seconds of the reply that the caller is thought to have heard."""


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    response_id: str
    item_id: str
    status: Literal["completed", "cancelled", "failed"]
    reason: str
    text: str
    """The whole reply, or what was heard of it when it was cut."""
    stats: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TurnTimed:
    """Where the time of a turn went, as the server saw it."""

    response_id: str
    item_id: str
    spans: dict[str, float]
    """Seconds by span name, up to the first sound handed to the wire."""
    speech_end: float | None
    """Place of the end of speech in the caller's sound, seconds since the call began."""


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    item_id: str
    audio_end: float


@dataclass(frozen=True, slots=True)
class Configured:
    """The session's settings changed."""

    settings: Configure


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong; the call goes on."""

    code: str
    message: str
    kind: Literal["invalid_request_error", "server_error"] = "invalid_request_error"
    event_id: str | None = None
    param: str | None = None


Notice = (
    SpeechStarted
    | SpeechStopped
    | TurnCommitted
    | AudioCleared
    | WordsHeard
    | TextAccepted
    | ReplyStarted
    | ReplyWords
    | CanvasShown
    | Play
    | StopPlaying
    | ReplyFinished
    | TurnTimed
    | ItemTruncated
    | Configured
    | Trouble
)

Task = Hear | DecodePartial | DecodeFinal | Forget | Prepare | Respond | Speak | Abandon
"""The part of the commands that is work for the engines."""

Command = Task | WakeAt | HangUp | Notice
