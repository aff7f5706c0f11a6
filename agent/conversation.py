"""What was said in a call: turns, and of each reply only what the caller heard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.reply import Message
from agent.timing import StageTimings

MAX_TURNS = 200
"""Turns of a call that are remembered."""


@dataclass(slots=True)
class Reply:
    """The agent's part of a turn."""

    item_id: str
    text: str = ""
    """All words that were generated."""
    spoken: str = ""
    """The words that reached the caller's ear."""
    interrupted: bool = False
    failed: bool = False

    @property
    def remembered(self) -> str:
        """What goes into later prompts."""
        return self.spoken if self.interrupted else self.text


@dataclass(slots=True)
class Turn:
    """One exchange: the caller's words and the reply to them."""

    id: int
    item_id: str
    revision: int = 0
    heard: str = ""
    reply: Reply | None = None
    timings: StageTimings = field(default_factory=StageTimings)
    speech_end: float | None = None
    """End of the caller's speech, seconds of sound since the call began."""


@dataclass(slots=True)
class Conversation:
    """The turns of a call, oldest first."""

    instructions: str
    history_characters: int
    turns: list[Turn] = field(default_factory=list)

    def add(self, turn: Turn) -> None:
        """Append a turn; one so old that no prompt reaches back to it is forgotten."""
        self.turns.append(turn)
        del self.turns[:-MAX_TURNS]

    def unanswered(self) -> Turn | None:
        """The newest turn in which something was said, if it was not answered."""
        for turn in reversed(self.turns):
            if turn.heard or turn.reply is not None:
                return turn if turn.reply is None else None
        return None

    def messages(self) -> tuple[Message, ...]:
        """The prompt: instructions, then as many of the newest turns as fit.

        A turn whose reply nobody heard (the caller went on speaking) is joined with the
        next one: for the model it was one sentence. Of an exchange that is too long alone only
        the newest words stay; one whose reply failed is left out, for it may be the reason.
        """
        kept: list[Message] = []
        room = self.history_characters
        for exchange in reversed(list(self._exchanges())):
            if not kept:
                exchange = [Message(m.role, m.content[-room:]) for m in exchange]
            room -= sum(len(message.content) for message in exchange)
            if room < 0 and kept:
                break
            kept = exchange + kept
        return (Message("system", self.instructions), *kept)

    def _exchanges(self) -> Iterator[list[Message]]:
        words: list[str] = []
        for turn in self.turns:
            if turn.heard:
                words.append(turn.heard)
            said = turn.reply.remembered if turn.reply else ""
            if turn.reply and turn.reply.failed and not said:
                words = []
            if said and words:
                yield [Message("user", " ".join(words)), Message("assistant", said)]
                words = []
        if words:
            yield [Message("user", " ".join(words))]

    def has(self, item_id: str) -> bool:
        """Whether an item of the conversation has this id."""
        return any(
            item_id == turn.item_id or (turn.reply and item_id == turn.reply.item_id)
            for turn in self.turns
        )

    def reply_of(self, item_id: str) -> Reply | None:
        """The reply with this item id."""
        for turn in reversed(self.turns):
            if turn.reply and turn.reply.item_id == item_id:
                return turn.reply
        return None
