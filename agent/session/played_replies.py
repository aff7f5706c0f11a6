"""The replies before the current one: the client may still have sound of them to play."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.session.commands import Command
from agent.session.notices import ItemTruncated
from agent.session.reply_in_flight import ReplyInFlight

TAIL_SECONDS = 0.1
"""The end of a finished reply that is not said again for another connection."""
MAX_UNPLAYED = 16
"""Replies that a client may hold unplayed and still report on."""


@dataclass(slots=True)
class PlayedReplies:
    """The replies of a call that are over, as far as a client may still report on them.

    Attributes:
        finished: the reply before the current one; the client may still report how much of it
            was played.
        unplayed: older ones of which a client that keeps sound may not have played all.
    """

    finished: ReplyInFlight | None = None
    unplayed: list[ReplyInFlight] = field(default_factory=list)

    @property
    def all(self) -> list[ReplyInFlight]:
        """Replies whose sound a client may still be playing, oldest first."""
        return [*self.unplayed, *([self.finished] if self.finished is not None else [])]

    def over_at(self, now: float) -> float:
        """Monotonic second at which the client has played all of them; 0 without any."""
        return max((now + known.playback.left(now) for known in self.all), default=0.0)

    def keep_unplayed(self, now: float) -> None:
        """Remember the replies of which the client still has sound."""
        earlier = [known for known in self.all if known.playback.left(now) > 0]
        self.unplayed = earlier[-MAX_UNPLAYED:]

    def cut_unplayed(self, now: float) -> Iterator[Command]:
        """Cut what the client had not played of earlier replies when the caller interrupted."""
        for reply in self.all:
            if reply.report_cut and reply.playback.left(now) > 0:
                position = reply.playback.heard(now)
                reply.playback.cut()
                reply.truncate(position)
                yield ItemTruncated(reply.entry.item_id, position)
        self.unplayed = []

    def take_lost(self, seen: float) -> ReplyInFlight | None:
        """Take the last reply back if it ended unheard after the client was ``seen`` last."""
        last = self.finished
        if last is None or not _lost(last, seen):
            return None
        self.finished = None
        return last


def _lost(reply: ReplyInFlight, seen: float) -> bool:
    """Whether a reply ended after the client was ``seen`` last, so that its end was not heard."""
    untold = any(
        call.told_at is not None and call.told_at > seen and call.output is None
        for call in reply.entry.calls
    )
    return untold or reply.unheard_at(seen + TAIL_SECONDS)
