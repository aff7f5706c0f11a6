"""The inputs of a session, from the caller and from the engines: a closed union, ``Input``.

Times are monotonic seconds and durations are seconds, unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.audio.samples import AudioChunk, Samples
from agent.audio.wire_format import WireFormat
from agent.decision import Answer, Question
from agent.reply import FunctionTool, Message, ReplyPiece, Role
from agent.session.playback import Delivery
from asr.transcript import Transcript
from tts.engine import SpeechChunk

# ---- inputs: from the caller -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """One frame of the caller's sound (32 ms) with its speech probability, from 0 to 1."""

    chunk: AudioChunk
    probability: float


@dataclass(frozen=True, slots=True)
class TextTyped:
    """The caller typed instead of speaking."""

    text: str
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class CommitAudio:
    """The client ends the open turn (push to talk)."""


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """The client takes the open turn back; its sound is dropped."""


@dataclass(frozen=True, slots=True)
class ClientItem:
    """An item that the client puts into the conversation.

    Attributes:
        kind: ``reference`` names an item of the conversation, for the input of one reply.
        item_id: its id; None for one of the server's choice.
        role: whose words a message has.
        text: the words, the arguments of a call (JSON), or the output of one.
        call_id: the call, with a call or its output.
        name: the function, with a call.
        sound: 16 kHz mono ``[n]`` of a message that is to be transcribed; ``text`` is empty then.
        left_out: parts of it that are not understood, each in a few words.
    """

    kind: Literal["message", "function_call", "function_call_output", "reference"] = "message"
    item_id: str | None = None
    role: Role = "user"
    text: str = ""
    call_id: str = ""
    name: str = ""
    sound: Samples | None = field(default=None, compare=False)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateItem:
    """The client adds an item.

    Attributes:
        previous: id of the item that it follows; ``root`` for the beginning, None for the end.
    """

    item: ClientItem
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class RetrieveItem:
    """The client asks for an item."""

    item_id: str


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """The client deletes an item: it leaves the conversation."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether functions are called: see `agent.reply.ReplyOptions`."""

    choice: Literal["auto", "none", "required", "function"] = "auto"
    name: str = ""


@dataclass(frozen=True, slots=True)
class RespondNow:
    """The client asks for a reply; None leaves an option as the session has it.

    Attributes:
        instructions: the system message of this reply.
        items: the conversation that this reply answers, in place of the call's.
        context: the messages of ``items``, which the session finds.
        metadata: echoed with the reply.
        text_only: whether the reply is words without sound.
        max_tokens: longest reply in tokens; infinite for the responder's own limit.
        tools: functions that this reply may call.
        tool_choice: whether it calls one.
        apart: whether it stays out of the conversation.
        schema: JSON schema that the reply is a document of; it is not spoken.
        output_format: the reply's sound in events.
        ignored: the client's wishes that were not applied, each in a few words.
    """

    instructions: str | None = None
    items: tuple[ClientItem, ...] | None = None
    context: tuple[Message, ...] | None = None
    metadata: Mapping[str, Any] | None = None
    text_only: bool | None = None
    max_tokens: float | None = None
    tools: tuple[FunctionTool, ...] | None = None
    tool_choice: ToolChoice | None = None
    apart: bool = False
    ignored: tuple[str, ...] = ()
    output_format: WireFormat | None = None
    schema: Mapping[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class DecideNow:
    """The client asks questions about the conversation; none of them: all of the settings.

    Attributes:
        names: questions of the settings.
        questions: questions of the client's own.
    """

    names: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelReply:
    """The client cancels the current reply, or the reply with this id.

    Attributes:
        quiet: whether it is no mistake if none is running.
    """

    response_id: str | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Truncate:
    """The client reports how many seconds of a reply it has played."""

    item_id: str
    played: float


@dataclass(frozen=True, slots=True)
class Configure:
    """The client changes the session's settings; None leaves a setting as it is.

    Attributes:
        turn_detection: False for push to talk: the client ends each turn by ``CommitAudio``.
        semantic: whether the words of a turn help to decide when it is over.
        eagerness: length of the pauses that end a turn, where the words help to decide.
        idle_after: seconds of silence before the agent asks whether the caller is still
            there; infinite for never.
        threshold: speech probability from which a frame counts as speech.
        endpoint_delay: seconds of silence that end a turn, where the words do not help.
        pre_roll: seconds of sound before the detected start that belong to the turn.
        create_response: whether the end of a turn starts a reply.
        interrupt_response: whether the caller's speech may interrupt a reply.
        transcription_only: whether the caller is written down and never answered.
        text_only: whether replies are words without sound.
        tools: functions that replies may call.
        tool_choice: whether they call one.
        max_tokens: longest reply in tokens; infinite for the responder's own limit.
        input_format: the caller's sound in events.
        output_format: the agent's sound in events.
        own_events: whether the client takes the events of this project beside the API's.
        ignored: the client's wishes that were not applied, each in a few words.
    """

    instructions: str | None = None
    turn_detection: bool | None = None
    semantic: bool | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    idle_after: float | None = None
    threshold: float | None = None
    endpoint_delay: float | None = None
    pre_roll: float | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None
    transcription_only: bool | None = None
    text_only: bool | None = None
    tools: tuple[FunctionTool, ...] | None = None
    tool_choice: ToolChoice | None = None
    max_tokens: float | None = None
    input_format: WireFormat | None = None
    output_format: WireFormat | None = None
    own_events: bool | None = None
    ignored: tuple[str, ...] = ()


# ---- inputs: from the engines ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartialTranscript:
    """The recogniser's hypothesis of the open turn; its last words may still change.

    Attributes:
        turn: id of the turn.
        transcript: the words so far.
        glance: whether they are a glance, in which the first words may still change, too.
    """

    turn: int
    transcript: Transcript
    glance: bool = False


@dataclass(frozen=True, slots=True)
class FinalTranscript:
    """The transcript of a turn up to the pause in which ``DecodeFinal`` asked for it."""

    turn: int
    revision: int
    transcript: Transcript


@dataclass(frozen=True, slots=True)
class PauseJudged:
    """The turn model's probability, from 0 to 1, that a pause ends the turn."""

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
    """The next synthesised sound of one segment of a reply."""

    generation: int
    segment: int
    chunk: SpeechChunk


@dataclass(frozen=True, slots=True)
class SegmentSpoken:
    """All sound of one segment has been synthesised."""

    generation: int
    segment: int


@dataclass(frozen=True, slots=True)
class StageFailed:
    """An engine failed; ``turn`` and ``revision``, or ``generation``, name the work."""

    stage: Literal["asr", "responder", "tts"]
    message: str
    turn: int = 0
    revision: int = 0
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Decided:
    """The answers to the questions of a ``Decide``.

    Attributes:
        ms: milliseconds that they took.
        error: why there are none; empty where there are.
    """

    number: int
    answers: tuple[Answer, ...] = ()
    ms: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class CallEnding:
    """The call is over; questions about the whole of it may be asked."""


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A function that the server ran is done.

    Attributes:
        output: its result or its error, as text for the model.
        reply: whether a reply follows.
        leave: why the call ends now; empty for a call that goes on.
        goodbye: whether the agent says goodbye first, if it has not said anything yet.
    """

    call_id: str
    output: str
    reply: bool = True
    leave: str = ""
    goodbye: bool = False


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The media path to the caller is open."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection ended without hang-up; the session waits for another.

    Attributes:
        last_seen: monotonic second at which the client was last known to be there.
    """

    last_seen: float


@dataclass(frozen=True, slots=True)
class ConnectionResumed:
    """The client is there over another connection.

    Attributes:
        last_seen: monotonic second at which it was last known to be there over the old one.
        delivery: the way of a reply's sound over the new one.
        played: item and seconds of the reply that it was playing, where the client tells.
        token: the secret by which it may come back once more.
    """

    last_seen: float
    delivery: Delivery
    played: tuple[str, float] | None = None
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SoundBacklog:
    """Sound waits for the connection, which takes less than is spoken, or does so no longer.

    Attributes:
        full: whether so much waits that no more may follow.
    """

    full: bool


@dataclass(frozen=True, slots=True)
class DeviceChanged:
    """The client has another microphone or speaker: its echo cancellation begins anew."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The server asks for the end of the call, after a goodbye."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of the last ``WakeAt`` has come."""


Input = (
    CallStarted
    | AudioFrame
    | TextTyped
    | CreateItem
    | RetrieveItem
    | DeleteItem
    | CommitAudio
    | ClearAudio
    | RespondNow
    | DecideNow
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
    | Decided
    | CallEnding
    | ConnectionLost
    | ConnectionResumed
    | SoundBacklog
    | DeviceChanged
    | ToolReturned
    | Leave
    | Tick
)
