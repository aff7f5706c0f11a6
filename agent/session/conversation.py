"""The history of a call: turns, and the part of each reply that the caller heard."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.reply import Message, ToolCall
from agent.timing import StageTimings, WorkSpan

MAX_TURNS = 200
"""Turns that a call remembers; older ones are dropped."""


NO_OUTPUT = "(no output yet)"
"""The output of a call in the prompt while the function runs."""
LEAST_REPEATED = 5
"""Words of a reply that is a repetition when it comes again; shorter ones fit many questions."""
ONCE_MORE = re.compile(
    r"\b(again|repeat|once more|say|said|pardon|sorry|nochmals?|noch einmal|wiederhol\w*|gesagt|"
    r"encore|répét\w*|repit\w*|repet\w*|otra vez)\b"
)
"""Words of one who asks for the last reply again."""
OVERDUE = "(no answer came in time)"
"""The output of a call in the prompt once its time is up; a late one takes its place."""


@dataclass(slots=True)
class FunctionCall:
    """A call of a function in the conversation.

    Attributes:
        item_id: id of the call's item.
        output: what the function returned; None while it runs.
        output_item_id: id of the output's item; None while there is none.
        told_at: monotonic second at which the client was told to run it; None while its
            arguments are made.
        run_by: who runs the function.
        overdue: whether its time is up.
        deleted: whether the call's own item was deleted; its output is an item still.
    """

    item_id: str
    call: ToolCall
    output: str | None = None
    output_item_id: str | None = None
    told_at: float | None = None
    run_by: Literal["client", "server"] = "client"
    overdue: bool = False
    deleted: bool = False

    @property
    def item_ids(self) -> list[str]:
        """The ids of its items that the client knows."""
        output = [self.output_item_id] if self.output_item_id else []
        return output if self.deleted else [self.item_id, *output]

    def answer(self) -> Message:
        """The output as a message of the prompt."""
        missing = OVERDUE if self.overdue else NO_OUTPUT
        output = missing if self.output is None else self.output
        return Message("tool", output, call_id=self.call.call_id)


@dataclass(slots=True)
class AgentReply:
    """The agent's part of a turn.

    Attributes:
        shown: whether the client was told of its message.
        spoken: whether its words are sound.
        calls: the functions that it called.
        text: all generated words.
        heard: the words that the caller heard.
        interrupted: whether only ``heard`` is remembered.
        failed: whether an engine failed on it.
        aside: whether its words are left out of prompts: they only bridged a wait.
        given: whether the client put it into the conversation.
    """

    item_id: str
    text: str = ""
    heard: str = ""
    interrupted: bool = False
    failed: bool = False
    shown: bool = False
    spoken: bool = True
    calls: list[FunctionCall] = field(default_factory=list)
    aside: bool = False
    given: bool = False

    @property
    def remembered(self) -> str:
        """The words of the reply that later prompts contain."""
        return self.heard if self.interrupted else self.text


@dataclass(slots=True)
class Turn:
    """One exchange: the caller's words and the reply to them.

    Attributes:
        instruction: a system message that stands here instead of the caller's words.
        spoken: whether the transcript is of sound.
        shown: whether the client knows an item of this id; False for a turn of the agent alone.
        on_request: whether it is answered only when the client asks for it.
        tags: what decisions found it to be.
        failed: whether the client was told that the recogniser failed at it.
        unheard: why it has no transcript; None unless the recogniser failed.
        revision: number of transcripts that became void because the caller went on.
        transcript: the caller's words, recognised or typed.
        speech_start: start of the turn's sound, pre-roll included, in seconds of sound since
            the call began.
        speech_end: end of the caller's speech, in seconds of sound since the call began.
        aside: whether its words are left out of prompts: they were about the floor ("hold on")
            or meant for others.
        to_others: probability that its words are not meant for the agent.
        voiced: seconds from its first to its last speech; infinite where none was detected.
        after_statement: whether it follows words of the agent that asked nothing.
        after_question: whether it follows a question of the agent's.
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
    to_others: float = 0.0
    voiced: float = math.inf
    after_statement: bool = False
    after_question: bool = False
    announced: bool = True
    asked_at: float | None = None
    work: list[WorkSpan] = field(default_factory=list)
    wasted: float = 0.0
    instruction: str = ""
    spoken: bool = True
    shown: bool = True
    on_request: bool = False
    failed: bool = False
    unheard: str | None = None
    tags: list[str] = field(default_factory=list)

    @property
    def item_ids(self) -> list[str]:
        """The ids of the turn's items that the client knows, in order."""
        ids = [self.item_id] if self.shown else []
        if self.reply is not None:
            ids += [self.reply.item_id] if self.reply.shown else []
            for call in self.reply.calls:
                ids += call.item_ids
        return ids

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

    def messages(self, said: str = "", instructions: str | None = None) -> tuple[Message, ...]:
        """The prompt: instructions, then as many of the newest turns as fit, then ``said``.

        A turn whose reply was not heard at all (the caller went on speaking) is joined with the
        next one: for the model they are one message. An exchange that is too long alone keeps
        its newest words. An exchange whose reply failed is left out, as it may be the cause, and
        those with one reply to different questions (`repetitions`).
        A call of a function is followed by its output, or by `NO_OUTPUT`.

        Args:
            instructions: in place of the conversation's own.
        """
        kept: list[Message] = []
        exchanges = self._exchanges(said)
        room, taken = self.history_characters, 0
        for exchange in reversed(exchanges):
            if not kept:
                exchange = [replace(m, content=m.content[-room:]) for m in exchange]
            room -= sum(len(message.content) for message in exchange)
            if room < 0 and kept:
                break
            kept = exchange + kept
            taken += 1
        self.trimmed = len(exchanges) - taken
        first = self.instructions if instructions is None else instructions
        return (Message("system", first), *kept)

    def _exchanges(self, said: str) -> list[list[Message]]:
        """The messages in groups, each of the caller's words and what the agent did then."""
        groups: list[list[Message]] = []
        current: list[Message] = []
        repeated = repetitions(self.turns)
        for turn in self.turns:
            asked = _asked(turn)
            if asked and any(message.role == "assistant" for message in current):
                groups.append(current)
                current = []
            if turn.id in repeated and not current:
                continue
            for message in asked:
                _join(current, message)
            reply = turn.reply
            failed = reply and reply.failed and not reply.remembered and not reply.calls
            if failed and all(message.role == "user" for message in current):
                current = []
            for message in answered(reply):
                _join(current, message)
        if said and any(message.role == "assistant" for message in current):
            groups.append(current)
            current = []
        if said:
            _join(current, Message("user", said))
        return [*groups, current] if current else groups

    def place(self, turn: Turn, previous: str | None) -> str | None:
        """Add a turn after the item ``previous``; returns the id of the item before it.

        A turn is not torn apart: after a question that has its answer already, the place is after
        the answer.

        Args:
            previous: ``root`` for the beginning, None for the end.

        Raises:
            KeyError: there is no such item.
        """
        if previous is None:
            self.add(turn)
            return self.follow(turn.item_ids[-1]) if turn.item_ids else self.newest
        index = 0 if previous == "root" else self._index(previous) + 1
        if index == len(self.turns):
            return self.place(turn, None)
        before = [name for known in self.turns[:index] for name in known.item_ids]
        self.turns.insert(index, turn)
        if len(self.turns) > MAX_TURNS:
            del self.turns[0 if index else 1]  # the oldest of the others
        return before[-1] if before else None

    @property
    def item_ids(self) -> list[str]:
        """The ids of all items that the client knows, in order."""
        return [name for turn in self.turns for name in turn.item_ids]

    def _index(self, item_id: str) -> int:
        for index, turn in enumerate(self.turns):
            if item_id in turn.item_ids:
                return index
        raise KeyError(item_id)

    def call(self, call_id: str) -> FunctionCall | None:
        """The newest call of a function with this id."""
        for turn in reversed(self.turns):
            for call in reversed(turn.reply.calls if turn.reply else []):
                if call.call.call_id == call_id:
                    return call
        return None

    def forget(self, item_id: str) -> bool:
        """Take an item out of the conversation; returns whether there was one."""
        turn = next((turn for turn in self.turns if item_id in turn.item_ids), None)
        if turn is None:
            return False
        if turn.shown and item_id == turn.item_id:
            turn.shown, turn.transcript, turn.instruction = False, "", ""
        elif turn.reply is not None:
            _forget(turn.reply, item_id)
        if self.newest == item_id:
            known = self.item_ids
            self.newest = known[-1] if known else None
        return True

    def has(self, item_id: str) -> bool:
        """Whether an item of the conversation has this id."""
        return any(
            item_id in (turn.item_id, turn.reply and turn.reply.item_id, *turn.item_ids)
            for turn in self.turns
        )

    def reply_of(self, item_id: str) -> AgentReply | None:
        """The reply with this item id."""
        for turn in reversed(self.turns):
            if turn.reply and turn.reply.item_id == item_id:
                return turn.reply
        return None


def repetitions(turns: Sequence[Turn]) -> set[int]:
    """Ids of the turns whose reply, word by word, was given to several different questions.

    A small model that reads its own words twice says them a third time, whatever it is asked. A
    reply that was asked for once more is none of these.
    """
    asked: dict[str, str] = {}
    repeated = set()
    said = {turn.id: words for turn in turns if (words := _repeatable(turn))}
    for turn in turns:
        if (words := said.get(turn.id)) is None:
            continue
        question = turn.said.strip().casefold()
        if asked.setdefault(words, question) != question and not ONCE_MORE.search(question):
            repeated.add(words)
    return {turn_id for turn_id, words in said.items() if words in repeated}


def _repeatable(turn: Turn) -> str | None:
    """The agent's own reply to a question in a form to compare; None for others and short ones."""
    reply = turn.reply
    if reply is None or reply.given or reply.calls or not turn.said:
        return None
    words = reply.remembered.strip().casefold()
    return words if words.count(" ") >= LEAST_REPEATED - 1 else None


def _asked(turn: Turn) -> list[Message]:
    """The caller's words of a turn, or the system message in their place."""
    if turn.instruction:
        return [Message("system", turn.instruction)]
    return [Message("user", turn.said)] if turn.said else []


def answered(reply: AgentReply | None) -> list[Message]:
    """The words of a reply with the functions that it called, and their outputs."""
    known = [] if reply is None else [call for call in reply.calls if not call.deleted]
    if reply is None or reply.aside or not (reply.remembered or known):
        return []
    calls = tuple(call.call for call in known)
    outputs = [call.answer() for call in known]
    return [Message("assistant", reply.remembered, calls), *outputs]


def _join(messages: list[Message], message: Message) -> None:
    """Append a message; words of the same side continue the message before."""
    last = messages[-1] if messages else None
    same = last is not None and last.role == message.role and message.role != "system"
    if last is None or not same or last.calls or message.role == "tool":
        messages.append(message)
    else:
        content = f"{last.content} {message.content}".strip()
        messages[-1] = replace(message, content=content)


def _forget(reply: AgentReply, item_id: str) -> None:
    if reply.shown and item_id == reply.item_id:
        reply.shown, reply.text, reply.heard = False, "", ""
    for call in reply.calls:
        if item_id == call.output_item_id:
            call.output = call.output_item_id = None
        elif item_id == call.item_id:
            call.deleted = True
    reply.calls = [call for call in reply.calls if call.item_ids]
