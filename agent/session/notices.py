"""The notices for the client: a closed union of frozen dataclasses, ``Notice``.

``agent/protocol`` puts them on the wire. All times and durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.audio.samples import Samples
from agent.audio.wire_format import WireFormat
from agent.decision import Answer, Effect, When
from agent.reply import CanvasStep, Role
from agent.session.events import Configure
from agent.timing import Speculation, WorkSpan


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak, at ``audio_start`` seconds of sound since the call began."""

    item_id: str
    audio_start: float


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller's turn is over; it ends at ``audio_end`` seconds of sound."""

    item_id: str
    audio_end: float


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """The caller's turn is part of the conversation now."""

    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class AudioCleared:
    """The open turn was taken back."""


@dataclass(frozen=True, slots=True)
class TranscriptUpdated:
    """The transcript of the caller's turn grew or is final.

    Attributes:
        text: the whole transcript so far.
        delta: the words of it that are new and will not change.
        final: whether the transcript is complete.
        seconds: duration of the transcribed sound, with a final transcript.
    """

    item_id: str
    text: str
    delta: str
    final: bool
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TranscriptFailed:
    """The recogniser failed on the caller's turn, which has no transcript."""

    item_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Item:
    """An item of the conversation, as the client sees it.

    Attributes:
        text: the words, the arguments of a call (JSON), or the output of one.
        spoken: whether the words were sound.
        complete: False for a reply that was cut.
    """

    item_id: str
    kind: Literal["message", "function_call", "function_call_output"]
    role: Role = "user"
    text: str = ""
    call_id: str = ""
    name: str = ""
    spoken: bool = False
    complete: bool = True


@dataclass(frozen=True, slots=True)
class ItemAccepted:
    """An item of the client's is part of the conversation now."""

    item: Item
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class ItemRetrieved:
    """The client asked for this item."""

    item: Item


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    """An item left the conversation."""

    item_id: str


@dataclass(frozen=True, slots=True)
class TextAccepted:
    """A typed message is part of the conversation now."""

    item_id: str
    previous_item_id: str | None
    text: str


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """A reply began.

    Attributes:
        item_id: of its message, which `ReplyItemStarted` announces.
        text_only: whether it is words without sound.
        metadata: the client's, with the reply that it asked for.
        max_tokens: longest reply in tokens, as the client wanted it.
        apart: whether it stays out of the conversation.
        output_format: its sound in events; None as the session has it.
    """

    response_id: str
    item_id: str
    text_only: bool = False
    metadata: Mapping[str, Any] | None = None
    max_tokens: float | None = None
    apart: bool = False
    output_format: WireFormat | None = None


@dataclass(frozen=True, slots=True)
class ReplyItemStarted:
    """The message of a reply begins; it is part of the conversation unless the reply is apart."""

    response_id: str
    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class FunctionCallStarted:
    """A reply calls a function; its item is part of the conversation now."""

    response_id: str
    item_id: str
    previous_item_id: str | None
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class FunctionArgumentsDelta:
    """The next text of a call's arguments."""

    response_id: str
    item_id: str
    call_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class FunctionCallDone:
    """The client is to run the function, and to create an item with its output."""

    response_id: str
    item_id: str
    previous_item_id: str | None
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ReplyTextDelta:
    """The next words of a reply; the deltas of a reply concatenate to its text."""

    response_id: str
    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class WordTimestamp:
    """The end of a word in the sound of a reply.

    Attributes:
        position: seconds of the reply's sound.
        characters: length of the reply's text that has been said by then, without the space
            around it.
    """

    position: float
    characters: int


@dataclass(frozen=True, slots=True)
class WordTimestamps:
    """The ends of the words in the next sound of a reply."""

    response_id: str
    item_id: str
    words: tuple[WordTimestamp, ...]


@dataclass(frozen=True, slots=True)
class CanvasShown:
    """The canvas of a reply after one denoising step, for display."""

    response_id: str
    step: CanvasStep


@dataclass(frozen=True, slots=True)
class Play:
    """The next sound of a reply, float32 mono at ``rate`` Hz, sent at the speed of playback."""

    response_id: str
    item_id: str
    samples: Samples
    rate: int


@dataclass(frozen=True, slots=True)
class Duck:
    """The caller may be interrupting: lower the reply's volume by ``gain_db`` at once."""

    response_id: str
    gain_db: float


@dataclass(frozen=True, slots=True)
class Unduck:
    """The caller did not interrupt: the reply goes on at full volume."""

    response_id: str


@dataclass(frozen=True, slots=True)
class StopPlaying:
    """Stop the playback of a reply at once and drop its buffered sound.

    ``heard`` is the estimate of the seconds that the caller has heard of it.
    """

    response_id: str
    item_id: str
    heard: float


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a reply."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ReplyGenerated:
    """All of a reply was generated; its playback may go on.

    Attributes:
        status: ``incomplete`` for a reply that reached the length that the client wanted.
        text: its words.
        stats: the responder's figures.
        usage: its tokens; None where the responder counts none.
    """

    response_id: str
    item_id: str
    status: Literal["completed", "incomplete"]
    text: str
    stats: dict[str, float] = field(default_factory=dict)
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """A reply was heard to its end, or was cut.

    Attributes:
        reason: why it was cut; empty for a completed reply.
        text: the whole reply, or the part that the caller heard of a reply that was cut.
        stats: the responder's figures of a completed reply.
        usage: its tokens as far as they are known.
    """

    response_id: str
    item_id: str
    status: Literal["completed", "cancelled", "failed"]
    reason: str
    text: str
    stats: dict[str, float] = field(default_factory=dict)
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class IdleTimedOut:
    """Both sides were silent for so long that the agent asks; seconds of the caller's sound."""

    item_id: str
    audio_start: float
    audio_end: float


@dataclass(frozen=True, slots=True)
class TurnTimed:
    """The latency of a turn by stage, as the server measured it.

    Attributes:
        spans: seconds by span name, up to the first sound handed to the wire.
        speech_end: position of the end of speech in the caller's sound, seconds since the call
            began.
        work: the engines' work, in seconds since the end of speech; work that began before the
            end of the turn was speculative.
        speculation: the outcome of work ahead of the end of the turn; None where there was none.
        budget: the limit for the whole turn; None for no limit.
    """

    response_id: str
    item_id: str
    spans: dict[str, float]
    speech_end: float | None
    work: tuple[WorkSpan, ...] = ()
    speculation: Speculation | None = None
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """A reply was truncated at the client's request, to ``audio_end`` seconds of its sound."""

    item_id: str
    audio_end: float


@dataclass(frozen=True, slots=True)
class Configured:
    """The session's settings changed."""

    settings: Configure


@dataclass(frozen=True, slots=True)
class DecisionMade:
    """Questions about the call were answered.

    Attributes:
        item_id: the turn that they are about; empty for the whole call.
        when: the moment at which they were asked.
        ms: milliseconds that the model took; None where rules alone answered.
        tags: the tags of the turn.
        effects: what the answers bring about.
    """

    item_id: str
    when: When
    answers: tuple[Answer, ...]
    ms: float | None = None
    tags: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """The call is to be handed over to ``destination``, and this side of it to end."""

    destination: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The session goes on over another connection, which is told where it stands.

    Responses of the old connection are over: one that goes on is begun again, under another id.

    Attributes:
        items: of the conversation, in order, each with the id of the one before it; without the
            items of a response that is begun again.
        token: the secret by which the client may come back once more.
        seconds: how long the session waits for it.
    """

    items: tuple[tuple[Item, str | None], ...]
    token: str = field(default="", repr=False)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error that the client is told of; the call goes on."""

    code: str
    message: str
    kind: Literal["invalid_request_error", "server_error"] = "invalid_request_error"
    event_id: str | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """An event worth knowing that is no error: ``code`` names it, ``message`` explains it."""

    code: str
    message: str


Notice = (
    SpeechStarted
    | SpeechStopped
    | TurnCommitted
    | AudioCleared
    | TranscriptUpdated
    | TranscriptFailed
    | TextAccepted
    | ItemAccepted
    | ItemRetrieved
    | ItemDeleted
    | ReplyStarted
    | ReplyItemStarted
    | FunctionCallStarted
    | FunctionArgumentsDelta
    | FunctionCallDone
    | ReplyGenerated
    | IdleTimedOut
    | ReplyTextDelta
    | WordTimestamps
    | CanvasShown
    | Play
    | Duck
    | Unduck
    | StopPlaying
    | ReplyFinished
    | TurnTimed
    | ItemTruncated
    | Configured
    | DecisionMade
    | TransferRequested
    | Resumed
    | Trouble
    | Remark
)
