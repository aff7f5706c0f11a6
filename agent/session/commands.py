"""The commands of a session: work for the engines, notices for the client, the end of the call."""

from __future__ import annotations

from dataclasses import dataclass

from agent.audio.samples import Samples
from agent.decision import Question
from agent.reply import PLAIN, Message, ReplyOptions
from agent.session.notices import Notice


@dataclass(frozen=True, slots=True)
class FeedRecogniser:
    """Give sound of the open turn to the recogniser."""

    turn: int
    samples: Samples


@dataclass(frozen=True, slots=True)
class DecodePartial:
    """Ask for a hypothesis of the open turn; it is urgent only if it decides on a barge-in."""

    turn: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class DecodeFinal:
    """Ask for the transcript of the turn so far; ``revision`` counts the pauses within it.

    Speed matters more than doubts where it decides on a barge-in (``urgent``).
    """

    turn: int
    revision: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class JudgePause:
    """Ask the turn model for the probability that the sound so far ends the turn."""

    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class CancelDecode:
    """Cancel the final decode of a turn if it has not begun: the caller goes on speaking."""

    turn: int


@dataclass(frozen=True, slots=True)
class DropTurnAudio:
    """Drop the sound of a turn and cancel its decodes."""

    turn: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Read the known part of the prompt into the responder's cache ahead of time."""

    messages: tuple[Message, ...]
    options: ReplyOptions = PLAIN


@dataclass(frozen=True, slots=True)
class Respond:
    """Generate a reply; all inputs that belong to it carry ``generation``.

    Attributes:
        deadline: monotonic second at which its words should be there.
        options: functions that it may call, and its length.
        apart: whether it is generated beside the call's other replies, with no cache of theirs.
    """

    generation: int
    messages: tuple[Message, ...]
    deadline: float | None = None
    options: ReplyOptions = PLAIN
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Speak:
    """Synthesise one segment of a reply; segments are synthesised in order."""

    generation: int
    segment: int
    text: str


@dataclass(frozen=True, slots=True)
class EndSpeech:
    """End the synthesis of a reply: no more segments follow."""

    generation: int


@dataclass(frozen=True, slots=True)
class AbandonSpeech:
    """Cancel the synthesis of a reply; its text goes on being generated."""

    generation: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Cancel all work for a generation; later inputs that carry it are ignored."""

    generation: int


@dataclass(frozen=True, slots=True)
class Decide:
    """Ask the responder questions about the conversation; ``Decided`` has the answers.

    Attributes:
        messages: the prompt of the reply to the words.
        words: the caller's words, which values are extracted from.
        timeout: seconds after which the decision is given up.
        quick: whether heads answer, which read the prompt cache, and no pass of the model.
    """

    number: int
    questions: tuple[Question, ...]
    messages: tuple[Message, ...]
    words: str
    timeout: float
    quick: bool = False


@dataclass(frozen=True, slots=True)
class RunTool:
    """Run a function of this server; its result comes back as ``ToolReturned``.

    Attributes:
        arguments: JSON text of an object.
    """

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class StopTool:
    """Stop a function that runs; its result is not wanted any more."""

    call_id: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a ``Tick`` at this monotonic second; a later command replaces an earlier one."""

    when: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call with a WebSocket close code and a reason for the log and the client."""

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
    | AbandonSpeech
    | Abandon
    | Decide
)
"""Commands that are work for the engines."""

ToolTask = RunTool | StopTool
"""Commands about functions of this server."""

Command = EngineTask | ToolTask | WakeAt | HangUp | Notice
