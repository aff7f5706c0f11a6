"""The history of a call: turns, and the part of each reply that the caller heard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.reply import Message
from agent.timing import StageTimings, WorkSpan

MAX_TURNS = 200
"""Turns that a call remembers; older ones are dropped."""


@dataclass(slots=True)
class AgentReply:
    """The agent's part of a turn.

    Attributes:
        text: all generated words.
        heard: the words that the caller heard.
        interrupted: whether only ``heard`` is remembered.
        failed: whether an engine failed on it.
    """

    item_id: str
    text: str = ""
    heard: str = ""
    interrupted: bool = False
    failed: bool = False

    @property
    def remembered(self) -> str:
        """The words of the reply that later prompts contain."""
        return self.heard if self.interrupted else self.text


@dataclass(slots=True)
class Turn:
    """One exchange: the caller's words and the reply to them.

    Attributes:
        revision: number of transcripts that became void because the caller went on.
        transcript: the caller's words, recognised or typed.
        speech_start: start of the turn's sound, pre-roll included, in seconds of sound since
            the call began.
        speech_end: end of the caller's speech, in seconds of sound since the call began.
        aside: whether its words are left out of prompts: they were about the floor ("hold on").
        announced: whether the client was told that the turn began.
        asked_at: monotonic second at which the transcript up to the last pause was asked for.
        work: the recogniser's work for the turn.
        wasted: seconds of work for the turn whose results were thrown away.
    """

    id: int
    item_id: str
    revision: int = 0
    transcript: str = ""
    reply: AgentReply | None = None
    timings: StageTimings = field(default_factory=StageTimings)
    speech_start: float = 0.0
    speech_end: float | None = None
    aside: bool = False
    announced: bool = True
    asked_at: float | None = None
    work: list[WorkSpan] = field(default_factory=list)
    wasted: float = 0.0

    @property
    def said(self) -> str:
        """The caller's words that prompts contain; empty for words about the floor."""
        return "" if self.aside else self.transcript


@dataclass(slots=True)
class Conversation:
    """The turns of a call, oldest first.

    Attributes:
        instructions: the system message.
        history_characters: length of the history that a prompt may contain.
        newest: id of the newest item.
        trimmed: number of exchanges that the last prompt left out as too old.
    """

    instructions: str
    history_characters: int
    turns: list[Turn] = field(default_factory=list)
    newest: str | None = None
    trimmed: int = 0

    def add(self, turn: Turn) -> None:
        """Append a turn; the oldest beyond `MAX_TURNS` is dropped."""
        self.turns.append(turn)
        del self.turns[:-MAX_TURNS]

    def follow(self, item_id: str) -> str | None:
        """Make ``item_id`` the newest item; returns the id of the item before it."""
        before, self.newest = self.newest, item_id
        return before

    def unanswered(self) -> Turn | None:
        """The newest turn in which something was said, if it has no reply."""
        for turn in reversed(self.turns):
            if turn.said or turn.reply is not None:
                return turn if turn.reply is None else None
        return None

    def withdraw(self) -> None:
        """Leave the newest question out of prompts if no reply to it was heard: "never mind"."""
        for turn in reversed(self.turns):
            if turn.said or turn.reply is not None:
                turn.aside = turn.reply is None or not turn.reply.remembered
                return

    def messages(self, said: str = "") -> tuple[Message, ...]:
        """The prompt: instructions, then as many of the newest turns as fit, then ``said``.

        A turn whose reply was not heard at all (the caller went on speaking) is joined with the
        next one: for the model they are one message. An exchange that is too long alone keeps
        its newest words. An exchange whose reply failed is left out, as it may be the cause.
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
            if turn.said and spoken:
                yield _exchange(words, spoken)
                words, spoken = [], []
            if turn.said:
                words.append(turn.said)
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
    """A user message and an assistant message; an empty one is left out."""
    pair = (Message("user", " ".join(words)), Message("assistant", " ".join(spoken)))
    return [message for message in pair if message.content]
