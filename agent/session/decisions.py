"""Decisions about a call: when questions are asked, what answers them, and what answers do.

Phrases answer at once (`decision_rules`). Heads answer from the prompt cache: they are asked ahead
in each pause, so that their answers are there when the turn ends. A pass of the model waits until
no reply is due and none is being generated. A decision that fails or is late leaves the call as it
is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from agent.decision import Action, Answer, Question, When
from agent.reply import Message
from agent.session.commands import Command, Decide
from agent.session.conversation import Conversation, Turn
from agent.session.decision_rules import RULED, rule_answer, silent_answer
from agent.session.effects import Effects
from agent.session.events import Decided, DecideNow
from agent.session.notices import DecisionMade, Remark, Trouble
from agent.session.pending_reply import PendingReply
from agent.session.replies import Replies
from agent.session.user_turn import UserTurn

MAX_WAITING = 4
"""Decisions of one call that may wait or run; one more drops the oldest that waits."""
REPLY_FIRST = 1.0
"""Seconds in which a client may ask for a reply to what was typed before a pass is asked."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Questions that were asked.

    Attributes:
        turn: the turn that they are about; None for the whole call.
        words: the caller's words then.
        known: answers of rules.
        ahead: whether the turn is not over yet.
        due: monotonic second until which a reply to the turn goes first.
    """

    when: When
    questions: tuple[Question, ...]
    words: str
    messages: tuple[Message, ...]
    turn: Turn | None = None
    known: tuple[Answer, ...] = ()
    ahead: bool = False
    due: float = 0.0


@dataclass(slots=True)
class Decisions:
    """The decisions of one call.

    Attributes:
        effects: what answers bring about.
        questions: all that the settings ask.
        actions: what answers do.
        heads: names of the questions that heads answer.
        has_model: whether the responder answers questions by a pass.
        timeout: seconds that one decision may take.
    """

    conversation: Conversation
    user_turn: UserTurn
    replies: Replies
    pending_reply: PendingReply
    effects: Effects
    questions: tuple[Question, ...] = ()
    actions: tuple[Action, ...] = ()
    timeout: float = 2.0
    heads: frozenset[str] = frozenset()
    has_model: bool = False
    _count: int = 0
    _running: dict[int, _Asked] = field(default_factory=dict)
    _waiting: deque[_Asked] = field(default_factory=deque)
    _ahead: tuple[_Asked, tuple[Answer, ...]] | None = None
    """The answers of a pause, until the turn ends or its words change."""
    _failed: bool = False

    @property
    def closing(self) -> bool:
        """Whether the call is being ended by an answer: the caller gets no replies any more."""
        return self.effects.closing

    @property
    def idle(self) -> bool:
        """Whether no decision is asked or waits."""
        return not self._running and not self._waiting

    def _at(self, when: When) -> tuple[Question, ...]:
        return tuple(question for question in self.questions if when in question.when)

    # ---- asking --------------------------------------------------------------------

    def pause(self, turn: Turn, words: str) -> Iterator[Command]:
        """Ask ahead, about the words up to a pause, what costs no pass of the model."""
        self._ahead = None
        for number in [n for n, asked in self._running.items() if asked.ahead]:
            del self._running[number]
        asked = [*self._at("pause"), *self._at("turn")]
        cheap = [q for q in dict.fromkeys(asked) if q.name in self.heads]
        known = tuple(a for q in self._at("pause") if (a := rule_answer(q.name, words)))
        if known:
            yield DecisionMade(turn.item_id, "pause", known)
        cheap = [q for q in cheap if rule_answer(q.name, words) is None]
        if cheap:
            messages = self.conversation.messages(words)
            yield self._ask(_Asked("pause", tuple(cheap), words, messages, turn, known, ahead=True))

    def turn_over(self, turn: Turn, now: float) -> Iterator[Command]:
        """Ask about a finished turn; rules, and answers of its last pause, are there already."""
        questions, words = self._at("turn"), turn.transcript
        if not questions or not words or self.closing:
            return
        known = [a for q in questions if (a := rule_answer(q.name, words))]
        known += [
            answer
            for answer in self._of_pause(turn, words)
            if all(answer.name != each.name for each in known)
        ]
        names = {answer.name for answer in known}
        rest = [q for q in questions if q.name not in names]
        known += [silent_answer(q.name) for q in rest if self._silent(q)]
        if known:
            yield from self._made("turn", turn, tuple(known), now)
        if self.closing:
            return
        messages = self.conversation.messages()
        about = _Asked("turn", (), words, messages, turn, due=now + REPLY_FIRST)
        heads = tuple(q for q in rest if q.name in self.heads)
        if heads:
            yield self._ask(replace(about, questions=heads))
        slow = tuple(q for q in rest if q.name not in self.heads and not self._silent(q))
        yield from self._wait(replace(about, questions=slow))

    def _silent(self, question: Question) -> bool:
        """Whether a rule alone answers the question."""
        asked = question.name in self.heads or self.has_model
        return question.name in RULED and not asked

    def _of_pause(self, turn: Turn, words: str) -> tuple[Answer, ...]:
        found, self._ahead = self._ahead, None
        if found is None or found[0].turn is not turn or found[0].words != words:
            return ()
        wanted = {question.name for question in self._at("turn")}
        return tuple(answer for answer in found[1] if answer.name in wanted)

    def end(self) -> Iterator[Command]:
        """Ask the questions about the whole call; those that waited are dropped."""
        self._waiting.clear()
        self._running.clear()
        questions, words = self._at("end"), self._caller_words
        known = [a for q in questions if (a := rule_answer(q.name, words))]
        names = {answer.name for answer in known}
        rest = tuple(q for q in questions if q.name not in names)
        can = self.has_model or any(q.name in self.heads for q in rest)
        if words and rest and can:
            messages = self.conversation.messages()
            yield self._ask(_Asked("end", rest, words, messages, known=tuple(known)), quick=False)
        elif known:
            yield DecisionMade("", "end", tuple(known))

    def on_demand(self, event: DecideNow) -> Iterator[Command]:
        """Ask what the client asks: questions of the settings by name, or of its own."""
        named = {question.name: question for question in self.questions}
        unknown = [name for name in event.names if name not in named]
        if unknown:
            there = ", ".join(named) or "none: set decisions.ask"
            message = f"there is no question {unknown[0]!r}; there are {there}"
            yield Trouble("invalid_value", message, param="questions")
            return
        if not event.names and not event.questions:
            event = replace(event, names=tuple(named))
        questions = (*(named[name] for name in event.names), *event.questions)
        if not self.has_model and any(q.name not in self.heads | RULED for q in questions):
            message = "the responder of this server answers no questions of its own"
            yield Trouble("invalid_value", message, param="questions")
            return
        words, messages = self._last_words, self.conversation.messages()
        known = tuple(a for q in questions if (a := rule_answer(q.name, words)))
        rest = tuple(q for q in questions if all(a.name != q.name for a in known))
        silent = tuple(silent_answer(q.name) for q in rest if self._silent(q))
        rest = tuple(q for q in rest if not self._silent(q))
        about = _Asked("demand", rest, words, messages, known=(*known, *silent))
        if not words:
            yield Trouble("invalid_value", "nothing has been said yet to decide about")
        elif rest:
            yield from self._wait(about)
        else:
            yield DecisionMade("", "demand", about.known)

    @property
    def _last_words(self) -> str:
        return next((t.transcript for t in reversed(self.conversation.turns) if t.said), "")

    @property
    def _caller_words(self) -> str:
        return " ".join(turn.transcript for turn in self.conversation.turns if turn.said)

    def _wait(self, asked: _Asked) -> Iterator[Command]:
        """Queue questions that need a pass of the model."""
        if not asked.questions:
            return
        if not self.has_model:
            if not self._failed:
                self._failed = True
                names = ", ".join(question.name for question in asked.questions)
                message = f"the responder of this server answers no questions: {names}"
                yield Remark("decision_unavailable", message)
            return
        self._waiting.append(asked)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            yield Remark("decision_skipped", "decisions about an earlier turn came too late")

    def _ask(self, asked: _Asked, *, quick: bool = True) -> Decide:
        self._count += 1
        self._running[self._count] = asked
        while len(self._running) > MAX_WAITING:
            del self._running[next(iter(self._running))]
        return Decide(
            self._count, asked.questions, asked.messages, asked.words, self.timeout, quick=quick
        )

    def settle(self, now: float) -> Iterator[Command]:
        """Ask what waits once no reply can be delayed by it, and say last words."""
        speaks = self.user_turn.open is not None or bool(self.user_turn.closed)
        reply = self.replies.current
        busy = speaks or self.pending_reply.wanted or (reply is not None and reply.done is None)
        passes = any(asked.when != "pause" for asked in self._running.values())
        if self._waiting and not busy and not passes and now >= self._due(self._waiting[0]):
            yield self._ask(self._waiting.popleft(), quick=False)
        yield from self.effects.settle(now, speaks=speaks)

    # ---- answers -------------------------------------------------------------------

    def take(self, event: Decided, now: float) -> Iterator[Command]:
        """Take the answers of a responder; those that are no longer wanted are ignored."""
        asked = self._running.pop(event.number, None)
        if asked is None:
            return
        if event.error:
            if asked.known:
                yield from self._made(asked.when, asked.turn, asked.known, now)
            if not self._failed:
                self._failed = True
                yield Remark("decision_failed", event.error)
            return
        if asked.ahead:
            self._ahead = (asked, event.answers)
            names = {question.name for question in self._at("pause")}
            found = tuple(answer for answer in event.answers if answer.name in names)
            if found and asked.turn is not None:
                yield DecisionMade(asked.turn.item_id, "pause", found, event.ms)
            return
        answers = (*asked.known, *event.answers)
        if answers:
            yield from self._made(asked.when, asked.turn, answers, now, event.ms)

    def _made(
        self,
        when: When,
        turn: Turn | None,
        answers: Sequence[Answer],
        now: float,
        ms: float | None = None,
    ) -> Iterator[Command]:
        """Tell of answers and carry out what they bring about."""
        due = [
            action
            for action in self.actions
            if when in ("turn", "demand") and any(action.fits(answer) for answer in answers)
        ]
        if turn is not None:
            for action in due:
                if action.do == "tag" and (tag := action.to or action.question) not in turn.tags:
                    turn.tags.append(tag)
        item, tags = ("", ()) if turn is None else (turn.item_id, tuple(turn.tags))
        yield DecisionMade(item, when, tuple(answers), ms, tags, tuple(a.do for a in due))
        for action in due:
            if not self.closing:
                yield from self.effects.carry_out(action, now)

    @staticmethod
    def _due(asked: _Asked) -> float:
        """Monotonic second from which a pass may be asked; at once where there is a reply."""
        answered = asked.turn is None or asked.turn.reply is not None
        return 0.0 if answered else asked.due

    def wakes_at(self, now: float) -> float:
        """Monotonic second at which a pass or last words are due; infinite for none."""
        times = self.effects.times
        if self._waiting:
            times.append(self._due(self._waiting[0]))
        # What is due already waits for an input, such as the end of the caller's speech.
        return min((each for each in times if each > now), default=math.inf)
