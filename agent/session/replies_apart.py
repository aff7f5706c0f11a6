"""The replies outside the conversation: words that are generated beside whatever is spoken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent.session.commands import Abandon, Command
from agent.session.notices import ReplyFinished, Trouble
from agent.session.reply_in_flight import ReplyInFlight

MAX_APART = 8
"""Replies outside the conversation that may be generated at once."""


@dataclass(slots=True)
class RepliesApart:
    """The replies of a call outside its conversation.

    Attributes:
        running: those that are being generated, by generation.
    """

    running: dict[int, ReplyInFlight] = field(default_factory=dict)

    def refusal(self) -> Trouble | None:
        """The reason why one more cannot be generated now; None if it can."""
        if len(self.running) < MAX_APART:
            return None
        message = f"{MAX_APART} replies outside the conversation are being generated already"
        return Trouble("conversation_already_has_active_response", message)

    def add(self, reply: ReplyInFlight) -> None:
        """Take a reply that begins."""
        self.running[reply.generation] = reply

    def named(self, response_id: str | None) -> ReplyInFlight | None:
        """The reply of this response; None if there is none."""
        replies = self.running.values()
        return next((reply for reply in replies if reply.response_id == response_id), None)

    def settle(self) -> Iterator[Command]:
        """End those that were generated whole."""
        for reply in [reply for reply in self.running.values() if reply.generated]:
            del self.running[reply.generation]
            yield from reply.tell_end(sound_in_events=False)
            yield reply.finish()

    def stop(
        self, reply: ReplyInFlight, reason: str, status: Literal["cancelled", "failed"]
    ) -> Iterator[Command]:
        """End one before it is complete."""
        del self.running[reply.generation]
        ids = (reply.response_id, reply.entry.item_id)
        yield ReplyFinished(*ids, status, reason, reply.entry.text, usage=reply.usage)
        yield Abandon(reply.generation)
