"""The replies of a call by generation: at most one current, at most one drafted in a pause.

A barge-in raises the generation; later inputs of an older generation are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from agent.reply import ReplyDone
from agent.session.commands import Abandon, AbandonSpeech, Command, Prepare, Respond
from agent.session.connection import Connection
from agent.session.conversation import AgentReply, Conversation, Turn
from agent.session.draft import Draft, note_speculation
from agent.session.events import (
    CancelReply,
    ConnectionResumed,
    RespondNow,
    StageFailed,
    Truncate,
)
from agent.session.kept_reply import KeptReply
from agent.session.notices import ItemTruncated, Trouble
from agent.session.playback import Delivery
from agent.session.played_replies import PlayedReplies
from agent.session.replies_apart import RepliesApart
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.reply_items import ReplyItems
from agent.session.reply_pieces import TOO_LONG, ReplyInput, is_too_long, take_piece
from agent.session.reply_settings import BY_SESSION, ReplySettings, prompt_of
from agent.session.tool_calls import ToolCalls
from agent.timing import Stage


@dataclass(slots=True)
class Replies:
    """The replies of a call.

    Attributes:
        tool_calls: the calls of functions that run.
        settings: what replies are like unless the client asks otherwise.
        new_id: makes an id from its kind.
        connection: the connection to the client.
        generation: number of the newest reply.
        current: the reply that is being generated or played; None while there is none.
        draft: the speculative reply of a pause; None while there is none.
        kept: the reply that was cut by a sound without words and is still being generated.
        played: the replies before the current one.
        apart: replies outside the conversation.
        items: tells the client of replies and of their items.
    """

    conversation: Conversation
    tool_calls: ToolCalls
    settings: ReplySettings
    new_id: Callable[[str], str]
    connection: Connection = field(default_factory=Connection)
    generation: int = 0
    current: ReplyInFlight | None = None
    draft: Draft | None = None
    kept: KeptReply = field(default_factory=KeptReply)
    played: PlayedReplies = field(default_factory=PlayedReplies)
    apart: RepliesApart = field(default_factory=RepliesApart)
    items: ReplyItems = field(init=False)
    _sounded: float = 0.0

    def __post_init__(self) -> None:
        self.items = ReplyItems(self.conversation, self.tool_calls, self.new_id, self.connection)

    @property
    def idle(self) -> bool:
        """Whether there is neither a current reply nor a draft."""
        return self.current is None and self.draft is None

    # ---- beginning -----------------------------------------------------------------

    def respond(
        self, turn: Turn, now: float, request: RespondNow = BY_SESSION
    ) -> Iterator[Command]:
        """Reply to ``turn``, the conversation's newest; uses the draft if its prompt is equal."""
        messages = prompt_of(self.conversation, request)
        self.tool_calls.reply_began(request)
        draft = self.draft
        if draft is not None and draft.messages == messages and request == BY_SESSION:
            yield from self._adopt(draft, turn, now)
            return
        yield from self.discard(turn, now)
        reply = self._new(now, request)
        reply.turn, reply.timings = turn, turn.timings
        note_speculation(reply, turn, now, hit=False)
        yield from self.kept.release()
        yield from self._start(reply, turn)
        deadline = self.settings.deadline(turn.timings.marks.get(Stage.SPEECH_END, now))
        yield Respond(reply.generation, messages, deadline, reply.options)

    def respond_apart(self, request: RespondNow, now: float) -> Iterator[Command]:
        """Generate words outside the conversation, beside whatever is spoken."""
        if (refusal := self.apart.refusal()) is not None:
            yield refusal
            return
        reply = self._new(now, request)
        self.apart.add(reply)
        yield self.items.started(reply)
        yield Respond(
            reply.generation, prompt_of(self.conversation, request), None, reply.options, apart=True
        )

    def say(
        self, words: str, now: float, silence: float = 0.0, *, aside: bool = False
    ) -> Iterator[Command]:
        """Speak fixed ``words`` without a responder.

        Args:
            silence: seconds of silence before them.
            aside: whether prompts leave them out.
        """
        turn = Turn(0, self.new_id("item"), shown=False)
        self.conversation.add(turn)
        reply = self._new(now)
        reply.silence, reply.entry.aside = silence, aside
        yield from self._start(reply, turn)
        yield from self.items.show(reply)
        yield from reply.text(words, now)
        yield from reply.complete(ReplyDone(words, 0, 0, 0.0, 0.0), now)

    def speculate(self, words: str, speech_end_at: float, now: float) -> Iterator[Command]:
        """Draft a reply to the conversation followed by ``words``."""
        yield from self.kept.release()
        messages = self.conversation.messages(words)
        reply = self._new(now)
        reply.paused = True
        self.draft = Draft(reply, messages)
        deadline = self.settings.deadline(speech_end_at)
        yield Respond(reply.generation, messages, deadline, self.settings.options)

    def _new(self, now: float, request: RespondNow = BY_SESSION) -> ReplyInFlight:
        self.generation += 1
        settings, text_only = self.settings, self.settings.text_only_of(request)
        entry = AgentReply(self.new_id("item"), spoken=not text_only)
        reply = ReplyInFlight(
            self.generation,
            self.new_id("resp"),
            entry,
            settings.lead,
            now,
            budget=settings.budget,
            request=request,
            report_cut=settings.delivery is Delivery.AT_ONCE and not text_only,
            lexicon=settings.lexicon,
            unspeakable=settings.unspeakable,
            connection=self.connection,
            options=settings.options_of(request),
        )
        reply.playback.not_before = self.played.over_at(now)
        return reply

    def _start(self, reply: ReplyInFlight, turn: Turn) -> Iterator[Command]:
        if not reply.request.apart:
            turn.reply = reply.entry
        self.current = reply
        yield self.items.started(reply)

    def prepare(self, words: str = "") -> Prepare:
        """The command to read the conversation, followed by ``words``, ahead of the next reply."""
        return Prepare(self.conversation.messages(words), self.settings.options)

    # ---- drafts --------------------------------------------------------------------

    def _adopt(self, draft: Draft, turn: Turn, now: float) -> Iterator[Command]:
        """Make the draft the current reply: its words and its sound go out at once."""
        reply, self.draft = draft.reply, None
        turn.timings.settle(reply.timings, now)
        reply.turn, reply.timings, reply.paused = turn, turn.timings, False
        note_speculation(reply, turn, now, hit=True)
        yield from self._start(reply, turn)
        yield from draft.give(self.items, now)

    def discard(self, turn: Turn | None, now: float) -> Iterator[Command]:
        """Drop the draft; its work counts as wasted for ``turn``."""
        draft, self.draft = self.draft, None
        if draft is None:
            return
        if turn is not None:
            turn.wasted += draft.reply.busy(now)
        yield Abandon(draft.reply.generation)

    # ---- going on ------------------------------------------------------------------

    def take(self, event: ReplyInput, now: float) -> Iterator[Command]:
        """Take a piece of the current reply or of the draft; pieces of others are ignored."""
        draft, reply = self.draft, self.current
        if self.kept.has(event.generation):
            if self.kept.take(event):
                yield from self.resume(now)
        elif self._too_long(event):
            failed = StageFailed("responder", TOO_LONG, generation=event.generation)
            yield from self.failed(failed, now)
        elif reply is not None and reply.generation == event.generation:
            yield from take_piece(reply, self.items, event, now)
        elif (apart := self.apart.running.get(event.generation)) is not None:
            yield from take_piece(apart, self.items, event, now)
        elif draft is not None and draft.reply.generation == event.generation:
            yield from draft.take(event, now)

    def _too_long(self, event: ReplyInput) -> bool:
        drafted = None if self.draft is None else self.draft.reply
        running = [self.current, drafted, *self.apart.running.values()]
        return any(is_too_long(reply, event) for reply in running if reply is not None)

    def resume(self, now: float) -> Iterator[Command]:
        """Speak the rest of the reply that was cut, once all of it is there."""
        self.kept.resumes = self.kept.reply is not None
        cut = self.played.finished
        if self.current is None and not self.kept.resumes and cut and cut.rest:
            yield from self.say(cut.rest, now)

    def fill(self, words: str) -> Iterator[Command]:
        """Speak a filler while the caller waits for the current reply."""
        if self.current is not None and self.current.entry.spoken:
            yield from self.items.show(self.current)
            yield from self.current.fill(words)

    def pump(self, now: float) -> Iterator[Command]:
        """Send the sound that is due; finish the reply once all of it was heard.

        While the client is not there, a complete reply waits, too.
        """
        if not self.connection.up:
            return
        yield from self.apart.settle()
        if self.current is None:
            return
        yield from self.current.pump(now)
        events = self.settings.delivery is not Delivery.TRACK
        yield from self.current.tell_end(sound_in_events=events)
        if self.current.over(now):
            yield self.current.finish()
            self._sounded = self.sounded
            over, self.current = self.current, None
            self.played.finished = over
            yield from self.tool_calls.reply_ended(over, now, cut=False)

    def hold_first_sound(self, until: float) -> None:
        """Let a reply of which nothing was sent wait until monotonic second ``until``."""
        if self.current is not None:
            self.current.waits_until = until

    def make_room(self, now: float) -> Iterator[Command]:
        """End the current reply for the next one if the client has all of its sound.

        A client that takes sound at once plays the next one after it.
        """
        reply = self.current
        if reply is None or self.settings.delivery is not Delivery.AT_ONCE or not reply.told:
            return
        yield reply.finish()
        self.played.keep_unplayed(now)
        self.played.finished, self.current = reply, None

    def next_due(self, now: float) -> float | None:
        """Monotonic second at which `pump` has work; None while there is none."""
        if self.current is None or self.current.paused or not self.connection.up:
            return None
        if self.current.over(now):
            return now  # a draft without sound, complete before it was used
        if self.current.waits(now):
            return self.current.waits_until
        if self.connection.congested and not self.current.playback.all_sent:
            return None
        return self.current.playback.next_due(now)

    @property
    def sounded(self) -> float:
        """Seconds of sound that the client's present connection and devices have had."""
        current = self.current
        now = 0.0 if current is None else current.playback.sent - current.resumed_from
        return self._sounded + now

    def unsettle(self) -> None:
        """Count sound anew: the client's echo cancellation begins again."""
        self._sounded -= self.sounded

    # ---- another connection --------------------------------------------------------

    def resume_over(self, event: ConnectionResumed, now: float) -> list[ReplyInFlight]:
        """Take another connection; returns the replies that it is to be told of."""
        self.settings.delivery, seen = event.delivery, self.connection.last_seen
        self._sounded = 0.0
        if self.current is None:
            self.current = self.played.take_lost(seen)
        running = [] if self.current is None else [self.current]
        running += self.apart.running.values()
        for reply in running:
            heard = reply.playback.heard(seen)
            if event.played is not None and event.played[0] == reply.entry.item_id:
                heard = min(event.played[1] + reply.resumed_from, reply.playback.sent)
            reply.lead = self.settings.lead
            reply.report_cut = self.settings.delivery is Delivery.AT_ONCE and reply.entry.spoken
            reply.resume(self.new_id("resp"), heard, now)
        return running

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
        yield from self.kept.release()
        self._sounded = self.sounded
        reply, self.current = self.current, None
        if reply is None:
            return
        if reason == "turn_detected":
            yield from self.played.cut_unplayed(now)
        else:
            self.played.keep_unplayed(now)
        self.generation += 1
        self.played.finished = reply
        yield from reply.cut(now, reason, status)
        if keep and reply.done is None:
            self.kept.reply = reply
            yield AbandonSpeech(reply.generation)
        else:
            yield Abandon(reply.generation)
        yield from self.tool_calls.reply_ended(reply, now, cut=True)

    def cancel(self, event: CancelReply, now: float) -> Iterator[Command]:
        """Stop the current reply, or the one that the client names."""
        if (apart := self.apart.named(event.response_id)) is not None:
            yield from self.apart.stop(apart, "client_cancelled", "cancelled")
            return
        running = self.current.response_id if self.current else None
        if running is None or event.response_id not in (None, running):
            if not event.quiet:
                name = f"{event.response_id} is not running" if event.response_id else ""
                message = f"Cancellation failed: {name or 'no active response found'}"
                yield Trouble("response_cancel_not_active", message)
        else:
            if self.current is not None:
                self.tool_calls.cancelled(self.current)
            yield from self.stop(now, "client_cancelled")

    def truncate(self, event: Truncate, now: float) -> Iterator[Command]:
        """Cut the newest reply in the history to what the client has played; ends it if it runs."""
        for reply in (self.current, *self.played.all):
            if reply is not None and reply.entry.item_id == event.item_id:
                reply.truncate(event.played + reply.resumed_from)
                if reply is self.current:
                    reply.report_cut = False
                    yield from self.stop(now, "client_cancelled")
                yield ItemTruncated(event.item_id, event.played)
                return
        if self.conversation.reply_of(event.item_id) is None:
            message = f"no reply has the id {event.item_id}"
            yield Trouble("item_truncate_invalid_item_id", message, param="item_id")
        else:
            message = "only the newest reply can still be truncated"
            yield Trouble("item_too_old", message, param="item_id")

    def failed(self, event: StageFailed, now: float) -> Iterator[Command]:
        """Stop a reply on which an engine failed; the client is not told of a draft."""
        if self.kept.has(event.generation):
            yield from self.kept.release()
        elif self.draft is not None and self.draft.reply.generation == event.generation:
            self.draft = None
            yield Abandon(event.generation)
        elif (apart := self.apart.running.get(event.generation)) is not None:
            yield Trouble(f"{event.stage}_failed", event.message, kind="server_error")
            yield from self.apart.stop(apart, event.message, "failed")
        elif self.current is not None and self.current.generation == event.generation:
            yield Trouble(f"{event.stage}_failed", event.message, kind="server_error")
            yield from self.stop(now, event.message, "failed")
