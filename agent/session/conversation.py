"""What was said in a call: turns, and of each reply only what the caller heard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.reply import Message
from agent.timing import StageTimings, WorkSpan

MAX_TURNS = 200
"""Turns of a call that are remembered."""


@dataclass(slots=True)
class AgentReply:
    """The agent's part of a turn."""

    item_id: str
    text: str = ""
    """All words that were generated."""
    heard: str = ""
    """The words that reached the caller's ear."""
    interrupted: bool = False
    failed: bool = False

    @property
    def remembered(self) -> str:
        """What goes into later prompts."""
        return self.heard if self.interrupted else self.text


@dataclass(slots=True)
class Turn:
    """One exchange: the caller's words and the reply to them."""

    id: int
    item_id: str
    revision: int = 0
    transcript: str = ""
    reply: AgentReply | None = None
    timings: StageTimings = field(default_factory=StageTimings)
    speech_start: float = 0.0
    """Start of what was heard of it, pre-roll included, seconds of sound since the call began."""
    speech_end: float | None = None
    """End of the caller's speech, seconds of sound since the call began."""
    announced: bool = True
    """Whether the client knows that it began."""
    asked_at: float | None = None
    """Monotonic second at which its words up to the last pause were asked for."""
    work: list[WorkSpan] = field(default_factory=list)
    """What the recogniser did for it."""
    wasted: float = 0.0
    """Seconds of work for it that were thrown away."""


@dataclass(slots=True)
class Conversation:
    """The turns of a call, oldest first."""

    instructions: str
    history_characters: int
    turns: list[Turn] = field(default_factory=list)
    newest: str | None = None
    """Id of the newest item."""
    trimmed: int = 0
    """Exchanges that are left out of the prompt because they are too old."""

    def add(self, turn: Turn) -> None:
        """Append a turn; one so old that no prompt reaches back to it is forgotten."""
        self.turns.append(turn)
        del self.turns[:-MAX_TURNS]

    def follow(self, item_id: str) -> str | None:
        """``item_id`` becomes the newest item; returns the one before it."""
        before, self.newest = self.newest, item_id
        return before

    def unanswered(self) -> Turn | None:
        """The newest turn in which something was said, if it was not answered."""
        for turn in reversed(self.turns):
            if turn.transcript or turn.reply is not None:
                return turn if turn.reply is None else None
        return None

    def messages(self, said: str = "") -> tuple[Message, ...]:
        """The prompt: instructions, then as many of the newest turns as fit, then ``said``.

        A turn whose reply nobody heard (the caller went on speaking) is joined with the
        next one: for the model it was one sentence. Of an exchange that is too long alone only
        the newest words stay; one whose reply failed is left out, for it may be the reason.
        """
        kept: list[Message] = []
        exchanges = list(self._exchanges(said))
        room, taken = self.history_characters, 0
        for exchange in reversed(exchanges):
            if not kept:
                exchange = [Message(m.role, m.content[-room:]) for m in exchange]
            room -= sum(len(message.content) for message in exchange)
            if room < 0 and kept:
                break
            kept = exchange + kept
            taken += 1
        self.trimmed = len(exchanges) - taken
        return (Message("system", self.instructions), *kept)

    def _exchanges(self, said: str) -> Iterator[list[Message]]:
        words: list[str] = []
        spoken: list[str] = []
        for turn in self.turns:
            if turn.transcript and spoken:
                yield _exchange(words, spoken)
                words, spoken = [], []
            if turn.transcript:
                words.append(turn.transcript)
            reply = turn.reply.remembered if turn.reply else ""
            if turn.reply and turn.reply.failed and not reply:
                words = []
            if reply:
                spoken.append(reply)
        if said and spoken:
            yield _exchange(words, spoken)
            words, spoken = [], []
        if said:
            words.append(said)
        if words or spoken:
            yield _exchange(words, spoken)

    def has(self, item_id: str) -> bool:
        """Whether an item of the conversation has this id."""
        return any(
            item_id == turn.item_id or (turn.reply and item_id == turn.reply.item_id)
            for turn in self.turns
        )

    def reply_of(self, item_id: str) -> AgentReply | None:
        """The reply with this item id."""
        for turn in reversed(self.turns):
            if turn.reply and turn.reply.item_id == item_id:
                return turn.reply
        return None


def _exchange(words: list[str], spoken: list[str]) -> list[Message]:
    """What the caller said and what he heard then; what the agent said by itself has no words."""
    pair = (Message("user", " ".join(words)), Message("assistant", " ".join(spoken)))
    return [message for message in pair if message.content]
