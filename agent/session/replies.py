"""Replies by generation: at most one on air, at most one drafted while the caller pauses.

A barge-in raises the generation; whatever still arrives of an older one is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent.reply import CanvasStep, Message, Prefilled, ReplyDone, ReplyText
from agent.session.commands import Abandon, Command, Respond, Speak
from agent.session.conversation import AgentReply, Conversation, Turn
from agent.session.events import (
    CancelReply,
    ReplyEvent,
    SegmentSpoken,
    SoundReady,
    StageFailed,
    Truncate,
)
from agent.session.notices import CanvasShown, ItemTruncated, ReplyStarted, Trouble
from agent.session.reply_in_flight import ReplyInFlight
from agent.timing import Speculation, Stage

MAX_REPLY = 4000
"""Characters of one reply: some four minutes of speech."""
TOO_LONG = f"the reply has more than {MAX_REPLY} characters"

ReplyInput = ReplyEvent | SoundReady | SegmentSpoken


@dataclass(slots=True)
class Draft:
    """A reply to words that may not be the last ones: nothing of it is told or heard."""

    reply: ReplyInFlight
    messages: tuple[Message, ...]
    """The prompt that it answers; it is worth something for exactly this prompt."""
    held: list[Command] = field(default_factory=list)
    """What happens when it comes true."""


@dataclass(slots=True)
class Replies:
    """The replies of a call."""

    conversation: Conversation
    lead: float
    """Seconds of sound that may be at the client ahead of its ear."""
    budget: float | None
    """Seconds from the end of speech to the first sound that a reply may take."""
    new_id: Callable[[str], str]
    generation: int = 0
    current: ReplyInFlight | None = None
    draft: Draft | None = None
    finished: ReplyInFlight | None = None
    """The last reply, as long as the client may still report how much of it was played."""

    @property
    def idle(self) -> bool:
        """Whether neither a reply nor a draft is in the making."""
        return self.current is None and self.draft is None

    # ---- beginning -----------------------------------------------------------------

    def respond(self, turn: Turn, now: float) -> Iterator[Command]:
        """Answer the conversation, whose newest turn is ``turn``: by the draft, if it fits."""
        messages = self.conversation.messages()
        if self.draft is not None and self.draft.messages == messages:
            yield from self._adopt(self.draft, turn, now)
            return
        yield from self.discard(turn, now)
        reply = self._new(now)
        reply.turn, reply.timings = turn, turn.timings
        self._note_speculation(reply, turn, now, hit=False)
        yield from self._start(reply, turn)
        yield Respond(reply.generation, messages, self._deadline(turn, now))

    def say(self, words: str, now: float, silence: float = 0.0) -> Iterator[Command]:
        """Say ``words`` that no responder has to think of, after seconds of ``silence``."""
        turn = Turn(0, self.new_id("item"))
        self.conversation.add(turn)
        reply = self._new(now)
        reply.silence = silence
        yield from self._start(reply, turn)
        yield from reply.text(words, now)
        yield from reply.complete(ReplyDone(words, 0, 0, 0.0, 0.0), now)

    def think_ahead(self, words: str, speech_end_at: float, now: float) -> Iterator[Command]:
        """Draft a reply to the conversation followed by ``words``."""
        messages = self.conversation.messages(words)
        reply = self._new(now)
        reply.paused = True
        self.draft = Draft(reply, messages)
        due = None if self.budget is None else speech_end_at + self.budget
        yield Respond(reply.generation, messages, due)

    def _new(self, now: float) -> ReplyInFlight:
        self.generation += 1
        entry = AgentReply(self.new_id("item"))
        response_id = self.new_id("resp")
        return ReplyInFlight(
            self.generation, response_id, entry, self.lead, now, budget=self.budget
        )

    def _start(self, reply: ReplyInFlight, turn: Turn) -> Iterator[Command]:
        turn.reply = reply.entry
        self.current = reply
        item_id = reply.entry.item_id
        yield ReplyStarted(reply.response_id, item_id, self.conversation.follow(item_id))

    def _deadline(self, turn: Turn, now: float) -> float | None:
        begin = turn.timings.marks.get(Stage.SPEECH_END, now)
        return None if self.budget is None else begin + self.budget

    # ---- drafts --------------------------------------------------------------------

    def _adopt(self, draft: Draft, turn: Turn, now: float) -> Iterator[Command]:
        """The turn is over and its words are the ones that were expected: on air at once."""
        reply, self.draft = draft.reply, None
        turn.timings.settle(reply.timings, now)
        reply.turn, reply.timings, reply.paused = turn, turn.timings, False
        self._note_speculation(reply, turn, now, hit=True)
        yield from self._start(reply, turn)
        yield from draft.held
        yield from reply.pump(now)

    def discard(self, turn: Turn | None, now: float) -> Iterator[Command]:
        """The draft is worth nothing any more; ``turn`` bears its cost."""
        draft, self.draft = self.draft, None
        if draft is None:
            return
        if turn is not None:
            turn.wasted += draft.reply.busy(now)
        yield Abandon(draft.reply.generation)

    def _note_speculation(self, reply: ReplyInFlight, turn: Turn, now: float, *, hit: bool) -> None:
        over = turn.timings.marks.get(Stage.TURN_END)
        if over is None or turn.asked_at is None:
            return
        tried = turn.revision + (turn.asked_at < over)
        if tried:
            saved = sum(span.before(over) for span in turn.work)
            saved += reply.busy(now) if hit else 0.0
            reply.speculation = Speculation(hit, tried, saved, turn.wasted)

    # ---- going on ------------------------------------------------------------------

    def take(self, event: ReplyInput, now: float) -> Iterator[Command]:
        """A piece of the reply on air or of the draft; of any other it is too late."""
        draft, reply = self.draft, self.current
        if isinstance(event, ReplyEvent) and self._too_long(event):
            failed = StageFailed("responder", TOO_LONG, generation=event.generation)
            yield from self.failed(failed, now)
        elif reply is not None and reply.generation == event.generation:
            yield from _piece(reply, event, now)
        elif draft is not None and draft.reply.generation == event.generation:
            for command in _piece(draft.reply, event, now):
                # The first sound is made ahead; more would be work for nothing, if it is.
                if isinstance(command, Speak) and command.segment == 0:
                    yield command
                else:
                    draft.held.append(command)

    def _too_long(self, event: ReplyEvent) -> bool:
        if not isinstance(event.piece, ReplyText):
            return False
        running = [self.current, None if self.draft is None else self.draft.reply]
        return any(
            len(reply.entry.text) + len(event.piece.text) > MAX_REPLY
            for reply in running
            if reply is not None and reply.generation == event.generation
        )

    def pump(self, now: float) -> Iterator[Command]:
        """Send what is due; notice the end."""
        if self.current is None:
            return
        yield from self.current.pump(now)
        if self.current.over(now):
            yield self.current.finish()
            self.finished, self.current = self.current, None

    def next_due(self, now: float) -> float | None:
        """When `pump` has something to do."""
        if self.current is None or self.current.paused:
            return None
        return self.current.playback.next_due(now)

    # ---- the end -------------------------------------------------------------------

    def stop(
        self, now: float, reason: str, status: Literal["cancelled", "failed"] = "cancelled"
    ) -> Iterator[Command]:
        """Raise the generation, drop the sound, tell the client, cut the history."""
        reply, self.current = self.current, None
        if reply is None:
            return
        self.generation += 1
        self.finished = reply
        yield from reply.cut(now, reason, status)
        yield Abandon(reply.generation)

    def cancel(self, event: CancelReply, now: float) -> Iterator[Command]:
        """The client wants no more of it."""
        reply = self.current
        running = reply.response_id if reply else None
        if running is None or event.response_id not in (None, running):
            what = event.response_id or "no reply"
            yield Trouble("response_cancel_not_active", f"{what} is not running")
        else:
            yield from self.stop(now, "client_cancelled")

    def truncate(self, event: Truncate) -> Iterator[Command]:
        """The client knows how much of the newest reply was played."""
        for reply in (self.current, self.finished):
            if reply is not None and reply.entry.item_id == event.item_id:
                reply.truncate(event.played)
                yield ItemTruncated(event.item_id, event.played)
                return
        if self.conversation.reply_of(event.item_id) is None:
            yield Trouble("item_not_found", f"no reply has the id {event.item_id}")
        else:
            yield Trouble("item_too_old", "only the newest reply can still be truncated")

    def failed(self, event: StageFailed, now: float) -> Iterator[Command]:
        """An engine gave up on a reply; of a draft nobody needs to know."""
        if self.draft is not None and self.draft.reply.generation == event.generation:
            self.draft = None
            yield Abandon(event.generation)
        elif self.current is not None and self.current.generation == event.generation:
            yield Trouble(f"{event.stage}_failed", event.message, kind="server_error")
            yield from self.stop(now, event.message, "failed")


def _piece(reply: ReplyInFlight, event: ReplyInput, now: float) -> Iterator[Command]:
    match event:
        case ReplyEvent(piece=Prefilled()):
            reply.reached(Stage.PROMPT, now)
        case ReplyEvent(piece=CanvasStep() as step):
            yield CanvasShown(reply.response_id, step)
        case ReplyEvent(piece=ReplyText(text)):
            yield from reply.text(text, now)
        case ReplyEvent(piece=ReplyDone() as done):
            yield from reply.complete(done, now)
        case SoundReady():
            yield from reply.sound(event, now)
        case SegmentSpoken():
            reply.segment_spoken(event)
