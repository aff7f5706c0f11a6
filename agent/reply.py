"""The messages that go into a responder and the pieces of a reply that come out of it.

`ReplyPiece` is a closed union; a session takes each piece as it is, in a ``ReplyEvent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A function that a reply may call.

    Attributes:
        name: the name that a call of it carries.
        description: when and how to use it, in words for the model.
        parameters: JSON schema of its arguments, of type ``object``.
        run_by: who runs it: the client that offers it, or this server.
        after_reply: whether the server runs it only once the reply that calls it was heard, and
            not at all if the caller interrupts that reply.
        announcement: sentence spoken before such a function runs, if the reply has no words.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    run_by: Literal["client", "server"] = "client"
    after_reply: bool = False
    announcement: str = ""


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """The options of one reply.

    Attributes:
        tools: functions that may be called.
        tool_choice: ``auto``: the responder decides; ``none``: no function is called;
            ``required``: at least one is; ``function``: the one named ``tool_name`` is.
        tool_name: name of the function of ``tool_choice="function"``; else empty.
        max_tokens: longest reply in tokens, calls included; None for the responder's own limit.
    """

    tools: tuple[FunctionTool, ...] = ()
    tool_choice: Literal["auto", "none", "required", "function"] = "auto"
    tool_name: str = ""
    max_tokens: int | None = None

    @property
    def usable(self) -> tuple[FunctionTool, ...]:
        """The functions that the choice leaves open; empty for ``none``."""
        match self.tool_choice:
            case "none":
                return ()
            case "function":
                return tuple(tool for tool in self.tools if tool.name == self.tool_name)
            case _:
                return self.tools

    @property
    def must_call(self) -> bool:
        """Whether the reply has to call a function."""
        return self.tool_choice in ("required", "function") and bool(self.usable)


PLAIN = ReplyOptions()
"""Words only, of the responder's own length."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete call of a function, as a piece of a reply and in the prompt.

    Attributes:
        call_id: id that its output names; unique within the conversation.
        name: name of the function.
        arguments: JSON text of an object.
        problem: why it cannot be run, in a sentence for the model; empty for a sound call.
    """

    call_id: str
    name: str
    arguments: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the prompt.

    Attributes:
        content: the words; for the role ``tool`` the output of a call.
        calls: calls of functions, with the role ``assistant``.
        call_id: the call whose output this is, with the role ``tool``.
    """

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class TurnEnding:
    """What a responder's state at the caller's last word says about the words' end.

    Attributes:
        whole: probability that the words are whole.
        more: probability that more must come.
        aside: probability that they are not meant for the agent.
        backchannel: probability that they are a sign of listening.
        floor: probability that they ask the agent to stop or to wait.
    """

    whole: float
    more: float
    aside: float
    backchannel: float
    floor: float

    @property
    def over(self) -> float:
        """Probability that nothing must follow, whatever the words are."""
        return 1.0 - self.more


@dataclass(frozen=True, slots=True)
class Prefilled:
    """The prompt is in the cache.

    Attributes:
        ending: what the state at the caller's last word says; None where there is no head for it.
        cached_tokens: prompt tokens that were in the cache already.
        new_tokens: prompt tokens that were computed now.
        ms: milliseconds that this took.
    """

    cached_tokens: int
    new_tokens: int
    ms: float
    ending: TurnEnding | None = None


@dataclass(frozen=True, slots=True)
class DraftRound:
    """What became of the draft that a step checked.

    Attributes:
        drafted: tokens that were proposed, on all branches.
        accepted: of these, what the model itself would have said; they are the first of the tokens
            that the step made final, the model's own token follows.
        corrected: whether the model's own token stands where another was proposed.
        unverified: tokens added without a check, when the rounds or the time were up.
    """

    drafted: int
    accepted: int
    corrected: bool
    unverified: int = 0


@dataclass(frozen=True, slots=True)
class CanvasStep:
    """The canvas after one denoising step.

    Attributes:
        step: number of the step, from 1 over the whole reply.
        of: planned number of steps; None where it depends on the confidence.
        tokens: text of each position; the empty string for a masked one.
        masked: whether each position is still masked.
        confidence: the model's probability of each position's token.
        ms: milliseconds that the step took.
        draft: what became of the draft that it checked, where there was one.
    """

    step: int
    of: int | None
    tokens: tuple[str, ...]
    masked: tuple[bool, ...]
    confidence: tuple[float, ...]
    ms: float
    draft: DraftRound | None = None


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The next final text of a reply; the texts of its pieces concatenate to the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The reply calls a function; its arguments follow."""

    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArguments:
    """The next text of a call's arguments; a responder that has them whole may leave it out."""

    call_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """The reply is complete.

    Attributes:
        text: the words of the whole reply; empty where it only calls functions.
        steps: denoising steps, or tokens of a model that generates one by one.
        forwards: forward passes of the model.
        prefill_ms: milliseconds until the prompt was in the cache.
        denoise_ms: milliseconds from then to the end of the reply.
        stats: further figures of the responder, by name.
    """

    text: str
    steps: int
    forwards: int
    prefill_ms: float
    denoise_ms: float
    stats: dict[str, float] = field(default_factory=dict)


ReplyPiece = (
    Prefilled | CanvasStep | ReplyText | ToolCallStarted | ToolArguments | ToolCall | ReplyDone
)
"""The pieces that a responder yields: ``Prefilled``, then steps, text and calls, then
``ReplyDone``. Each call is ``ToolCallStarted`` and any number of ``ToolArguments``, both of which
may be left out, then the complete ``ToolCall``."""
