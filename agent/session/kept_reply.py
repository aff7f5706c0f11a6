"""The reply that was cut by a sound without words: its text is kept in case that it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.reply import ReplyDone, ReplyText
from agent.session.commands import Abandon, Command
from agent.session.events import ReplyEvent
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.reply_pieces import MAX_REPLY, ReplyInput


@dataclass(slots=True)
class KeptReply:
    """A reply that was cut and is still being generated.

    Attributes:
        reply: the reply; None while there is none.
        resumes: whether the rest of it is spoken once it is complete.
    """

    reply: ReplyInFlight | None = None
    resumes: bool = False

    def has(self, generation: int) -> bool:
        """Whether it is the reply of this generation."""
        return self.reply is not None and self.reply.generation == generation

    def take(self, event: ReplyInput) -> bool:
        """Collect the text of the reply; its sound is not made any more.

        Returns whether the reply is complete, and goes on now.
        """
        kept = self.reply
        if kept is None or not isinstance(event, ReplyEvent):
            return False
        if isinstance(event.piece, ReplyText):
            kept.entry.text = (kept.entry.text + event.piece.text)[:MAX_REPLY]
        elif isinstance(event.piece, ReplyDone):
            kept.done, self.reply = event.piece, None
            return self.resumes
        return False

    def release(self) -> Iterator[Command]:
        """Give it up: the caller's words are in its place."""
        kept, self.reply = self.reply, None
        self.resumes = False
        if kept is not None:
            yield Abandon(kept.generation)
