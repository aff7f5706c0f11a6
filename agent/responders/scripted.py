"""A responder without a model that replies from a script, for tests and latency floors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from agent.responders.base import (
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyPiece,
    ReplyText,
)


def repeat(words: str) -> str:
    """The default script: repeats the caller's words."""
    return f"You said: {words}"


class ScriptedResponder:
    """Replies by a function of the caller's last words, or by a table of them.

    Args:
        script: the function, or the table; words that are not in the table are repeated.
        steps: canvas steps in which a reply becomes final, from left to right.

    Attributes:
        prompts: every prompt that was answered, for tests.
    """

    def __init__(
        self,
        script: Callable[[str], str] | Mapping[str, str] = repeat,
        *,
        steps: int = 2,
    ) -> None:
        self._script = script
        self._steps = steps
        self.prompts: list[tuple[Message, ...]] = []

    def open(self) -> ScriptedCall:
        return ScriptedCall(self)

    def answer(self, messages: Sequence[Message]) -> str:
        """The whole reply to a conversation."""
        self.prompts.append(tuple(messages))
        words = next(m.content for m in reversed(messages) if m.role == "user")
        if callable(self._script):
            return self._script(words)
        return self._script.get(words, repeat(words))

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

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        text = self._responder.answer(messages)
        yield self.prepare(messages)
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
