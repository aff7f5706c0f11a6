"""Ids of the turns, items and replies of one call; every id is unique within the call."""

from __future__ import annotations

from dataclasses import dataclass

from agent.session.conversation import Conversation, Turn
from agent.session.user_turn import UserTurn


@dataclass(slots=True)
class Ids:
    """Makes ids by counting; a client may choose ids for its own items."""

    conversation: Conversation
    user_turn: UserTurn
    _names: int = 0
    _turns: int = 0

    def turn(self, item_id: str | None = None) -> Turn:
        """A new turn, with the client's id for its item or a new one."""
        self._turns += 1
        return Turn(self._turns, item_id or self.new("item"))

    def new(self, kind: str) -> str:
        """A new id that begins with ``kind``."""
        while True:
            self._names += 1
            name = f"{kind}_{self._names:06d}"
            if not self.taken(name):
                return name

    def taken(self, item_id: str) -> bool:
        """Whether an item of the conversation or the open turn has this id."""
        opened = self.user_turn.open
        being_spoken = opened is not None and opened.turn.item_id == item_id
        return being_spoken or self.conversation.has(item_id)
