"""The replies of a call by generation: at most one current, at most one drafted in a pause.

A barge-in raises the generation; later inputs of an older generation are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent.reply import CanvasStep, Message, Prefilled, ReplyDone, ReplyText
from agent.session.commands import Abandon, AbandonSpeech, Command, Respond, Speak
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
from tts.lexicon import EMPTY, Lexicon

MAX_REPLY = 4000
"""Characters of one reply, about four minutes of speech; a longer one fails."""
TOO_LONG = f"the reply has more than {MAX_REPLY} characters"

ReplyInput = ReplyEvent | SoundReady | SegmentSpoken


@dataclass(slots=True)
class Draft:
    """A speculative reply to the words before a pause: neither announced nor played.

    Attributes:
        messages: the prompt of the reply; it is used only if the turn ends with this prompt.
        held: the commands that are carried out when it is used.
    """

    reply: ReplyInFlight
    messages: tuple[Message, ...]
    held: list[Command] = field(default_factory=list)


@dataclass(slots=True)
class Replies:
    """The replies of a call.

    Attributes:
        lead: seconds of sound that may be at the client unplayed.
        budget: seconds from the end of speech to the first sound that a reply may take.
        new_id: makes an id from its kind.
        generation: number of the newest reply.
        current: the reply that is being generated or played; None while there is none.
        draft: the speculative reply of a pause; None while there is none.
        kept: a reply that was cut by a sound without words and is still being generated, in case
            that it goes on; None while there is none.
        finished: the reply before the current one; the client may still report how much of it
            was played.
        lexicon: the user's own words, for the spoken form.
    """

    conversation: Conversation
    lead: float
    budget: float | None
    new_id: Callable[[str], str]
    generation: int = 0
    current: ReplyInFlight | None = None
    draft: Draft | None = None
    kept: ReplyInFlight | None = None
    lexicon: Lexicon = EMPTY
    finished: ReplyInFlight | None = None
    _resuming: bool = False
    """Whether the rest of ``kept`` is spoken once it is complete."""

    @property
    def idle(self) -> bool:
        """Whether there is neither a current reply nor a draft."""
        return self.current is None and self.draft is None

    # ---- beginning -----------------------------------------------------------------

    def respond(self, turn: Turn, now: float) -> Iterator[Command]:
        """Reply to ``turn``, the conversation's newest; uses the draft if its prompt is equal."""
        messages = self.conversation.messages()
        if self.draft is not None and self.draft.messages == messages:
            yield from self._adopt(self.draft, turn, now)
            return
        yield from self.discard(turn, now)
        reply = self._new(now)
        reply.turn, reply.timings = turn, turn.timings
        self._note_speculation(reply, turn, now, hit=False)
        yield from self._release()
        yield from self._start(reply, turn)
        yield Respond(reply.generation, messages, self._deadline(turn, now))

    def say(self, words: str, now: float, silence: float = 0.0) -> Iterator[Command]:
        """Speak fixed ``words`` without a responder, after ``silence`` seconds of silence."""
        turn = Turn(0, self.new_id("item"))
        self.conversation.add(turn)
        reply = self._new(now)
        reply.silence = silence
        yield from self._start(reply, turn)
        yield from reply.text(words, now)
        yield from reply.complete(ReplyDone(words, 0, 0, 0.0, 0.0), now)

    def speculate(self, words: str, speech_end_at: float, now: float) -> Iterator[Command]:
        """Draft a reply to the conversation followed by ``words``."""
        yield from self._release()
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
            self.generation,
            response_id,
            entry,
            self.lead,
            now,
            budget=self.budget,
            lexicon=self.lexicon,
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
        """Make the draft the current reply: its words and its sound go out at once."""
        reply, self.draft = draft.reply, None
        turn.timings.settle(reply.timings, now)
        reply.turn, reply.timings, reply.paused = turn, turn.timings, False
        self._note_speculation(reply, turn, now, hit=True)
        yield from self._start(reply, turn)
        yield from draft.held
        yield from reply.pump(now)

    def discard(self, turn: Turn | None, now: float) -> Iterator[Command]:
        """Drop the draft; its work counts as wasted for ``turn``."""
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
        """Take a piece of the current reply or of the draft; pieces of others are ignored."""
        draft, reply = self.draft, self.current
        if self.kept is not None and self.kept.generation == event.generation:
            yield from self._take_kept(self.kept, event, now)
            return
        if isinstance(event, ReplyEvent) and self._too_long(event):
            failed = StageFailed("responder", TOO_LONG, generation=event.generation)
            yield from self.failed(failed, now)
        elif reply is not None and reply.generation == event.generation:
            yield from _piece(reply, event, now)
        elif draft is not None and draft.reply.generation == event.generation:
            for command in _piece(draft.reply, event, now):
                # Only the first segment is synthesised ahead: the draft may be dropped.
                if isinstance(command, Speak) and command.segment == 0:
                    yield command
                else:
                    draft.held.append(command)

    def _take_kept(self, kept: ReplyInFlight, event: ReplyInput, now: float) -> Iterator[Command]:
        """Collect the text of a reply that was cut; its sound is not made any more."""
        if not isinstance(event, ReplyEvent):
            return
        if isinstance(event.piece, ReplyText):
            kept.entry.text = (kept.entry.text + event.piece.text)[:MAX_REPLY]
        elif isinstance(event.piece, ReplyDone):
            kept.done, self.kept = event.piece, None
            if self._resuming:
                yield from self.resume(now)

    def resume(self, now: float) -> Iterator[Command]:
        """Speak the rest of the reply that was cut, once all of it is there."""
        self._resuming = self.kept is not None
        if self.current is None and not self._resuming and self.finished and self.finished.rest:
            yield from self.say(self.finished.rest, now)

    def _release(self) -> Iterator[Command]:
        """Give up the reply that was kept: the caller's words are in its place."""
        kept, self.kept = self.kept, None
        self._resuming = False
        if kept is not None:
            yield Abandon(kept.generation)

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
        """Send the sound that is due; finish the reply once all of it was heard."""
        if self.current is None:
            return
        yield from self.current.pump(now)
        if self.current.over(now):
            yield self.current.finish()
            self.finished, self.current = self.current, None

    def next_due(self, now: float) -> float | None:
        """Monotonic second at which `pump` has work; None while there is none."""
        if self.current is None or self.current.paused:
            return None
        return self.current.playback.next_due(now)

    # ---- the end -------------------------------------------------------------------

    def stop(
        self,
        now: float,
        reason: str,
        status: Literal["cancelled", "failed"] = "cancelled",
        *,
        keep: bool = False,
    ) -> Iterator[Command]:
        """Stop the current reply: raise the generation, drop sound, cut the history.

        With ``keep`` its text goes on being generated: what cut it may prove to be noise.
        """
        yield from self._release()
        reply, self.current = self.current, None
        if reply is None:
            return
        self.generation += 1
        self.finished = reply
        yield from reply.cut(now, reason, status)
        if keep and reply.done is None:
            self.kept = reply
            yield AbandonSpeech(reply.generation)
        else:
            yield Abandon(reply.generation)

    def cancel(self, event: CancelReply, now: float) -> Iterator[Command]:
        """Stop the current reply at the client's request."""
        reply = self.current
        running = reply.response_id if reply else None
        if running is None or event.response_id not in (None, running):
            what = event.response_id or "no reply"
            yield Trouble("response_cancel_not_active", f"{what} is not running")
        else:
            yield from self.stop(now, "client_cancelled")

    def truncate(self, event: Truncate) -> Iterator[Command]:
        """Cut the newest reply in the history to what the client has played."""
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
        """Stop a reply on which an engine failed; the client is not told of a draft."""
        if self.kept is not None and self.kept.generation == event.generation:
            yield from self._release()
        elif self.draft is not None and self.draft.reply.generation == event.generation:
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
