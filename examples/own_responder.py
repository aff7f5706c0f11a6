"""A responder of your own: the agent shouts back what it heard.

onebreath reply "hello there" --responder examples.own_responder:Shouting
onebreath serve --responder examples.own_responder:Shouting
"""

from collections.abc import Iterator, Sequence

from agent.responders.base import Message, Prefilled, ReplyDone, ReplyPiece, ReplyText


class Shouting:
    """A `Responder`: loaded once, without arguments, shared by all calls."""

    def open(self) -> "ShoutingCall":
        return ShoutingCall()

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def close(self) -> None:
        """Nothing to free."""


class ShoutingCall:
    """A `ResponderCall`: what one call needs; here nothing is kept between turns."""

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        return Prefilled(cached_tokens=0, new_tokens=0, ms=0.0)

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        text = messages[-1].content.upper()
        yield self.prepare(messages)
        yield ReplyText(text)  # final words: they are spoken while the next ones are made
        yield ReplyDone(text, steps=1, forwards=0, prefill_ms=0.0, denoise_ms=0.0)

    def close(self) -> None:
        """Nothing to free."""
