"""What the stream of a chat API has said so far of one reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice

from agent.responders.base import FunctionTool, ReplyPiece, ReplyText
from agent.responders.hosted_calls import StreamedCalls
from dllm_core.thinking import ThinkingFilter

_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
"""Fields of a piece that hold thoughts: DeepSeek's and vLLM's, OpenRouter's, Ollama's."""


class StreamedReply:
    """A reply as it arrives, chunk by chunk.

    Args:
        tools: the functions that it may call.

    Attributes:
        first_ms: milliseconds until its first chunk; None: it has not come.
        text: its words, without thoughts.
        spoken: pieces of it that had words.
        begun: whether any of it has come: words, a call or a thought.
        spoke: whether the newest chunk had words, a piece of a call, or the end.
        thinks: whether the newest chunk had a thought.
        thought: whether the model has shown that it thinks before it speaks.
        cut: whether it was ended by its limit.
        ended: whether the service said that it is complete.
        called: whether it calls a function.
    """

    def __init__(self, tools: Sequence[FunctionTool]) -> None:
        self.first_ms: float | None = None
        self.text = ""
        self.spoken = 0
        self.begun = self.spoke = self.thinks = False
        self.thought = False
        self.cut = False
        self.ended = False
        self.called = False
        self._pieces = 0
        self._usage: CompletionUsage | None = None
        self._aloud = ThinkingFilter()
        self._calls = StreamedCalls(tools)

    @property
    def wordless(self) -> bool:
        """Whether it neither says anything nor calls a function."""
        return not self.text.strip() and not self.called

    def take(self, chunk: ChatCompletionChunk) -> Iterator[ReplyPiece]:
        """The pieces of the reply that a chunk completes.

        Raises:
            ResponderError: an unknown function is called, or there is no end of calls.
        """
        self._usage = chunk.usage or self._usage
        self.spoke = self.thinks = False
        for choice in chunk.choices or ():
            self.cut = self.cut or choice.finish_reason == "length"
            self.ended = self.ended or bool(choice.finish_reason)
            self.spoke |= bool(choice.finish_reason)
            if choice.delta is None:  # notes of a filter alone, as Azure sends them
                continue
            self.spoke |= bool(choice.delta.tool_calls)
            self.thinks |= _thinks(choice)
            if choice.delta.content:
                self._pieces += 1
                yield from self._say(self._aloud.push(choice.delta.content))
            self.thought |= self._aloud.thought or self.thinks
            yield from self._calls.take(choice.delta.tool_calls or ())
        self.begun |= self.spoke or self.thinks or bool(self._pieces)

    def goes_on(self, chunk: ChatCompletionChunk) -> bool:
        """Whether a chunk goes on with the reply, or completes it."""
        choices = chunk.choices or ()  # some services leave out what is empty
        deltas = [choice.delta for choice in choices if choice.delta is not None]
        ends = not self.ended and any(choice.finish_reason for choice in choices)
        return ends or any(delta.content or delta.tool_calls for delta in deltas)

    def finish(self) -> Iterator[ReplyPiece]:
        """The pieces that were held back until the end of the reply."""
        if rest := self._aloud.finish():
            self.text += rest
            yield ReplyText(rest)
        for call in self._calls.complete():
            self.called = True
            yield call

    def stats(self) -> dict[str, float]:
        """Figures of the reply: whether it was cut, its pieces, and its tokens if they are told."""
        stats = {"cut": float(self.cut), "pieces": self._pieces}
        if self._usage is not None:
            stats["tokens"] = self._usage.completion_tokens
            stats["prompt_tokens"] = self._usage.prompt_tokens
        return stats

    def _say(self, said: str) -> Iterator[ReplyPiece]:
        if said:
            self.text += said
            self.spoken += 1
            self.spoke = True
            yield ReplyText(said)


def _thinks(choice: Choice) -> bool:
    """Whether a piece holds a thought, in a field that some services have for it."""
    return any(getattr(choice.delta, name, None) for name in _THOUGHTS)
