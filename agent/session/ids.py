"""Names of turns, items and replies of one call; none is given twice."""

from __future__ import annotations

from dataclasses import dataclass

from agent.session.conversation import Conversation, Turn
from agent.session.user_turn import UserTurn


@dataclass(slots=True)
class Ids:
    """Counts through the call; a client may name items of its own."""

    conversation: Conversation
    user_turn: UserTurn
    _names: int = 0
    _turns: int = 0

    def turn(self, item_id: str | None = None) -> Turn:
        """The next turn, its item named by the client or by us."""
        self._turns += 1
        return Turn(self._turns, item_id or self.new("item"))

    def new(self, kind: str) -> str:
        """A name that nothing has."""
        while True:
            self._names += 1
            name = f"{kind}_{self._names:06d}"
            if not self.taken(name):
                return name

    def taken(self, item_id: str) -> bool:
        """Whether an item, or the one that the caller is speaking, has that name."""
        opened = self.user_turn.open
        being_spoken = opened is not None and opened.turn.item_id == item_id
        return being_spoken or self.conversation.has(item_id)
