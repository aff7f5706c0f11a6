"""Replies by generation: at most one on air, at most one drafted while the caller pauses.

A barge-in raises the generation; whatever still arrives of an older one is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent.reply import Message, ReplyDone
from agent.session.commands import Abandon, Command, Respond, Speak
from agent.session.conversation import Conversation, Reply, Turn
from agent.session.events import (
    CancelReply,
    Denoised,
    PromptReady,
    ReplyComplete,
    SegmentSpoken,
    SoundReady,
    StageFailed,
    TextReady,
    Truncate,
)
from agent.session.notices import CanvasShown, ItemTruncated, ReplyStarted, Trouble
from agent.session.reply_in_flight import Speaking
from agent.timing import Speculation, Stage
from tts.lexicon import EMPTY, Lexicon

MAX_REPLY = 4000
"""Characters of one reply: some four minutes of speech."""
TOO_LONG = f"the reply has more than {MAX_REPLY} characters"

ReplyEvent = PromptReady | Denoised | TextReady | ReplyComplete | SoundReady | SegmentSpoken


@dataclass(slots=True)
class Draft:
    """A reply to words that may not be the last ones: nothing of it is told or heard."""

    speaking: Speaking
    messages: tuple[Message, ...]
    """The prompt that it answers; it is worth something for exactly this prompt."""
    held: list[Command] = field(default_factory=list)
    """What happens when it comes true."""


@dataclass(slots=True)
class Answering:
    """The replies of a call."""

    conversation: Conversation
    lead: float
    """Seconds of sound that may be at the client ahead of its ear."""
    budget: float | None
    """Seconds from the end of speech to the first sound that a reply may take."""
    new_id: Callable[[str], str]
    generation: int = 0
    speaking: Speaking | None = None
    draft: Draft | None = None
    lexicon: Lexicon = EMPTY
    """The user's own words, for the spoken form."""
    finished: Speaking | None = None
    """The last reply, as long as the client may still report how much of it was played."""

    @property
    def idle(self) -> bool:
        """Whether neither a reply nor a draft is in the making."""
        return self.speaking is None and self.draft is None

    # ---- beginning -----------------------------------------------------------------

    def respond(self, turn: Turn, now: float) -> Iterator[Command]:
        """Answer the conversation, whose newest turn is ``turn``: by the draft, if it fits."""
        messages = self.conversation.messages()
        if self.draft is not None and self.draft.messages == messages:
            yield from self._adopt(self.draft, turn, now)
            return
        yield from self.discard(turn, now)
        speaking = self._new(now)
        speaking.turn, speaking.timings = turn, turn.timings
        self._note_speculation(speaking, turn, now, hit=False)
        yield from self._start(speaking, turn)
        yield Respond(speaking.generation, messages, self._deadline(turn, now))

    def say(self, words: str, now: float, silence: float = 0.0) -> Iterator[Command]:
        """Say ``words`` that no responder has to think of, after seconds of ``silence``."""
        turn = Turn(0, self.new_id("item"))
        self.conversation.add(turn)
        speaking = self._new(now)
        speaking.silence = silence
        yield from self._start(speaking, turn)
        yield from speaking.text(words, now)
        yield from speaking.complete(ReplyDone(words, 0, 0, 0.0, 0.0), now)

    def think_ahead(self, words: str, speech_end_at: float, now: float) -> Iterator[Command]:
        """Draft a reply to the conversation followed by ``words``."""
        messages = self.conversation.messages(words)
        speaking = self._new(now)
        speaking.paused = True
        self.draft = Draft(speaking, messages)
        due = None if self.budget is None else speech_end_at + self.budget
        yield Respond(speaking.generation, messages, due)

    def _new(self, now: float) -> Speaking:
        self.generation += 1
        reply = Reply(self.new_id("item"))
        response_id = self.new_id("resp")
        return Speaking(
            self.generation,
            response_id,
            reply,
            self.lead,
            now,
            budget=self.budget,
            lexicon=self.lexicon,
        )

    def _start(self, speaking: Speaking, turn: Turn) -> Iterator[Command]:
        turn.reply = speaking.reply
        self.speaking = speaking
        item_id = speaking.reply.item_id
        yield ReplyStarted(speaking.response_id, item_id, self.conversation.follow(item_id))

    def _deadline(self, turn: Turn, now: float) -> float | None:
        begin = turn.timings.marks.get(Stage.SPEECH_END, now)
        return None if self.budget is None else begin + self.budget

    # ---- drafts --------------------------------------------------------------------

    def _adopt(self, draft: Draft, turn: Turn, now: float) -> Iterator[Command]:
        """The turn is over and its words are the ones that were expected: on air at once."""
        speaking, self.draft = draft.speaking, None
        turn.timings.settle(speaking.timings, now)
        speaking.turn, speaking.timings, speaking.paused = turn, turn.timings, False
        self._note_speculation(speaking, turn, now, hit=True)
        yield from self._start(speaking, turn)
        yield from draft.held
        yield from speaking.pump(now)

    def discard(self, turn: Turn | None, now: float) -> Iterator[Command]:
        """The draft is worth nothing any more; ``turn`` bears its cost."""
        draft, self.draft = self.draft, None
        if draft is None:
            return
        if turn is not None:
            turn.wasted += draft.speaking.busy(now)
        yield Abandon(draft.speaking.generation)

    def _note_speculation(self, speaking: Speaking, turn: Turn, now: float, *, hit: bool) -> None:
        over = turn.timings.marks.get(Stage.TURN_END)
        if over is None or turn.asked_at is None:
            return
        tried = turn.revision + (turn.asked_at < over)
        if tried:
            saved = sum(span.before(over) for span in turn.work)
            saved += speaking.busy(now) if hit else 0.0
            speaking.speculation = Speculation(hit, tried, saved, turn.wasted)

    # ---- going on ------------------------------------------------------------------

    def take(self, event: ReplyEvent, now: float) -> Iterator[Command]:
        """A piece of the reply on air or of the draft; of any other it is too late."""
        draft, speaking = self.draft, self.speaking
        if isinstance(event, TextReady) and self._too_long(event):
            failed = StageFailed("responder", TOO_LONG, generation=event.generation)
            yield from self.failed(failed, now)
        elif speaking is not None and speaking.generation == event.generation:
            yield from _piece(speaking, event, now)
        elif draft is not None and draft.speaking.generation == event.generation:
            for command in _piece(draft.speaking, event, now):
                # The first sound is made ahead; more would be work for nothing, if it is.
                if isinstance(command, Speak) and command.segment == 0:
                    yield command
                else:
                    draft.held.append(command)

    def _too_long(self, event: TextReady) -> bool:
        running = [self.speaking, None if self.draft is None else self.draft.speaking]
        return any(
            len(reply.reply.text) + len(event.text) > MAX_REPLY
            for reply in running
            if reply is not None and reply.generation == event.generation
        )

    def pump(self, now: float) -> Iterator[Command]:
        """Send what is due; notice the end."""
        if self.speaking is None:
            return
        yield from self.speaking.pump(now)
        if self.speaking.over(now):
            yield self.speaking.finish()
            self.finished, self.speaking = self.speaking, None

    def next_due(self, now: float) -> float | None:
        """When `pump` has something to do."""
        if self.speaking is None or self.speaking.paused:
            return None
        return self.speaking.playback.next_due(now)

    # ---- the end -------------------------------------------------------------------

    def stop(
        self, now: float, reason: str, status: Literal["cancelled", "failed"] = "cancelled"
    ) -> Iterator[Command]:
        """Raise the generation, drop the sound, tell the client, cut the history."""
        speaking, self.speaking = self.speaking, None
        if speaking is None:
            return
        self.generation += 1
        self.finished = speaking
        yield from speaking.cut(now, reason, status)
        yield Abandon(speaking.generation)

    def cancel(self, event: CancelReply, now: float) -> Iterator[Command]:
        """The client wants no more of it."""
        speaking = self.speaking
        running = speaking.response_id if speaking else None
        if running is None or event.response_id not in (None, running):
            what = event.response_id or "no reply"
            yield Trouble("response_cancel_not_active", f"{what} is not running")
        else:
            yield from self.stop(now, "client_cancelled")

    def truncate(self, event: Truncate) -> Iterator[Command]:
        """The client knows how much of the newest reply was played."""
        for speaking in (self.speaking, self.finished):
            if speaking is not None and speaking.reply.item_id == event.item_id:
                speaking.truncate(event.played)
                yield ItemTruncated(event.item_id, event.played)
                return
        if self.conversation.reply_of(event.item_id) is None:
            yield Trouble("item_not_found", f"no reply has the id {event.item_id}")
        else:
            yield Trouble("item_too_old", "only the newest reply can still be truncated")

    def failed(self, event: StageFailed, now: float) -> Iterator[Command]:
        """An engine gave up on a reply; of a draft nobody needs to know."""
        if self.draft is not None and self.draft.speaking.generation == event.generation:
            self.draft = None
            yield Abandon(event.generation)
        elif self.speaking is not None and self.speaking.generation == event.generation:
            yield Trouble(f"{event.stage}_failed", event.message, kind="server_error")
            yield from self.stop(now, event.message, "failed")


def _piece(speaking: Speaking, event: ReplyEvent, now: float) -> Iterator[Command]:
    match event:
        case PromptReady():
            speaking.reached(Stage.PROMPT, now)
        case Denoised():
            yield CanvasShown(speaking.response_id, event.step)
        case TextReady():
            yield from speaking.text(event.text, now)
        case ReplyComplete():
            yield from speaking.complete(event.done, now)
        case SoundReady():
            yield from speaking.sound(event, now)
        case SegmentSpoken():
            speaking.segment_spoken(event)
