"""A responder without a model that replies from a script, for tests and latency floors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from agent.responders.base import (
    PLAIN,
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyOptions,
    ReplyPiece,
    ReplyText,
    ToolArguments,
    ToolCall,
    ToolCallStarted,
)

Line = str | ToolCall
"""A scripted reply: words, or a call of a function."""


def repeat(words: str) -> str:
    """The default script: repeats the caller's words."""
    return f"You said: {words}"


class ScriptedResponder:
    """Replies by a function of the last words, or by a table of them.

    The last words are the caller's, or the output of a function that was called after them.

    Args:
        script: the function, or the table; words that are not in the table are repeated. A call
            of a function gets a new id where it has none, and is left out where the reply may not
            call it.
        steps: canvas steps in which a reply becomes final, from left to right.

    Attributes:
        uses_tools: True.
        prompts: every prompt that was answered, for tests.
        options: the options of every reply, for tests.
    """

    uses_tools = True

    def __init__(
        self,
        script: Callable[[str], str] | Callable[[str], Line] | Mapping[str, Line] = repeat,
        *,
        steps: int = 2,
    ) -> None:
        self._script = script
        self._steps = steps
        self.prompts: list[tuple[Message, ...]] = []
        self.options: list[ReplyOptions] = []

    def open(self) -> ScriptedCall:
        return ScriptedCall(self)

    def answer(self, messages: Sequence[Message]) -> Line:
        """The whole reply to a conversation."""
        self.prompts.append(tuple(messages))
        words = _last_words(messages)
        if callable(self._script):
            return self._script(words)
        return self._script.get(words, repeat(words))

    def line(self, messages: Sequence[Message], options: ReplyOptions) -> Line:
        """The whole reply; a call that the options do not allow gives way to the words."""
        self.options.append(options)
        line = self.answer(messages)
        if not isinstance(line, ToolCall):
            return line
        if line.name not in {tool.name for tool in options.usable}:
            return repeat(_last_words(messages))
        return line if line.call_id else replace(line, call_id=f"call_{len(self.prompts):06d}")

    @property
    def steps(self) -> int:
        """Canvas steps of a reply."""
        return self._steps

    def warm_up(self) -> None:
        """Do nothing: there is no model."""

    def close(self) -> None:
        """Do nothing: the responder has no resources."""


class ScriptedCall:
    """One call; the words of a prepared prompt count as cached."""

    def __init__(self, responder: ScriptedResponder) -> None:
        self._responder = responder
        self._cached = 0

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        tokens = sum(len(message.content.split()) for message in messages)
        cached, self._cached = min(self._cached, tokens), tokens
        return Prefilled(cached, tokens - cached, 0.0)

    def prepare_with(self, messages: Sequence[Message], options: ReplyOptions) -> Prefilled:
        return self.prepare(messages)

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        return self.reply_with(messages, PLAIN, deadline)

    def reply_with(
        self, messages: Sequence[Message], options: ReplyOptions, deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        line = self._responder.line(messages, options)
        yield self.prepare(messages)
        yield from _calling(line) if isinstance(line, ToolCall) else self._speaking(line)

    def _speaking(self, text: str) -> Iterator[ReplyPiece]:
        words = text.split(" ")
        pieces = [word if n == 0 else f" {word}" for n, word in enumerate(words)]
        steps = min(self._responder.steps, len(words))
        said = 0
        for step in range(1, steps + 1):
            final = len(words) * step // steps
            masked = tuple(place >= final for place in range(len(words)))
            tokens = tuple(
                "" if hidden else spaced for spaced, hidden in zip(pieces, masked, strict=True)
            )
            confidence = tuple(0.0 if hidden else 1.0 for hidden in masked)
            yield CanvasStep(step, steps, tokens, masked, confidence, 0.0)
            lead = " " if said else ""
            yield ReplyText(lead + " ".join(words[said:final]))
            said = final
        yield ReplyDone(text, steps, steps, 0.0, 0.0)

    def close(self) -> None:
        """Do nothing: the responder has no resources."""


def _last_words(messages: Sequence[Message]) -> str:
    """The last words of the caller, or the last output of a function."""
    said = (m.content for m in reversed(messages) if m.role in ("user", "tool"))
    return next(said, "")


def _calling(call: ToolCall) -> Iterator[ReplyPiece]:
    """A reply that only calls a function, its arguments in two pieces."""
    yield ToolCallStarted(call.call_id, call.name)
    half = len(call.arguments) // 2
    for delta in (call.arguments[:half], call.arguments[half:]):
        if delta:
            yield ToolArguments(call.call_id, delta)
    yield call
    yield ReplyDone("", 1, 1, 0.0, 0.0)
