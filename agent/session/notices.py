"""What a client is told: a closed union of frozen dataclasses, ``Notice``.

``agent/protocol`` puts it on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from agent.audio.samples import Samples
from agent.reply import CanvasStep
from agent.session.events import Configure
from agent.timing import Speculation, WorkSpan


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
class TranscriptUpdated:
    """What the caller said; ``final`` closes the item, ``delta`` is new stable text."""

    item_id: str
    text: str
    delta: str
    final: bool
    seconds: float = 0.0
    """Sound that the words were heard in."""


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
class ReplyTextDelta:
    """Words of the reply that are about to be spoken."""

    response_id: str
    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class WordPlace:
    """Where a word ends in the sound of a reply."""

    position: float
    """Seconds of the reply's sound."""
    characters: int
    """How much of the reply's text has been said by then, without the space around it."""


@dataclass(frozen=True, slots=True)
class WordsPlaced:
    """The next sound has been made, and where words end in it is known."""

    response_id: str
    item_id: str
    words: tuple[WordPlace, ...]


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
class Duck:
    """The caller may be interrupting: turn this reply down at once."""

    response_id: str
    gain_db: float


@dataclass(frozen=True, slots=True)
class Unduck:
    """He was not: the reply goes on at full volume."""

    response_id: str


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
    work: tuple[WorkSpan, ...] = ()
    """When the engines worked, from the end of speech; before the turn was over, they guessed."""
    speculation: Speculation | None = None
    """None where nothing was tried ahead of the end of the turn."""
    budget: float | None = None


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


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that is worth knowing and no fault: ``code`` names it, ``message`` explains it."""

    code: str
    message: str


Notice = (
    SpeechStarted
    | SpeechStopped
    | TurnCommitted
    | AudioCleared
    | TranscriptUpdated
    | TextAccepted
    | ReplyStarted
    | ReplyTextDelta
    | WordsPlaced
    | CanvasShown
    | Play
    | Duck
    | Unduck
    | StopPlaying
    | ReplyFinished
    | TurnTimed
    | ItemTruncated
    | Configured
    | Trouble
    | Remark
)
