"""The replies of a call by generation: at most one current, at most one drafted in a pause.

A barge-in raises the generation; later inputs of an older generation are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.reply import (
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyOptions,
    ReplyText,
    ToolArguments,
    ToolCall,
    ToolCallStarted,
)
from agent.session.commands import Abandon, AbandonSpeech, Command, Respond, Speak
from agent.session.conversation import AgentReply, Conversation, FunctionCall, Turn
from agent.session.events import (
    CancelReply,
    ReplyEvent,
    RespondNow,
    SegmentSpoken,
    SoundReady,
    StageFailed,
    ToolChoice,
    Truncate,
)
from agent.session.notices import (
    CanvasShown,
    FunctionArgumentsDelta,
    FunctionCallDone,
    FunctionCallStarted,
    ItemTruncated,
    ReplyFinished,
    ReplyItemStarted,
    ReplyStarted,
    Trouble,
)
from agent.session.playback import Delivery
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.tool_calls import ToolCalls
from agent.timing import Speculation, Stage
from tts.lexicon import EMPTY, Lexicon

MAX_REPLY = 4000
"""Characters of one reply, about four minutes of speech; a longer one fails."""
TOO_LONG = f"the reply has more than {MAX_REPLY} characters"

MAX_UNPLAYED = 16
"""Replies that a client may hold unplayed and still report on."""
MAX_APART = 8
"""Replies outside the conversation that may be generated at once."""
OPENING = Message("user", "Hello.")
"""What a reply answers before anybody has said anything."""
BY_SESSION = RespondNow()
"""The options of a reply that nobody asked for in particular."""

ReplyInput = ReplyEvent | SoundReady | SegmentSpoken


@dataclass(slots=True)
class Draft:
    """A speculative reply to the words before a pause: neither announced nor played.

    Attributes:
        messages: the prompt of the reply; it is used only if the turn ends with this prompt.
        held: the commands that are carried out when it is used.
        late: the pieces from the first call of a function on, which are taken when it is used.
    """

    reply: ReplyInFlight
    messages: tuple[Message, ...]
    held: list[Command] = field(default_factory=list)
    late: list[ReplyEvent] = field(default_factory=list)

    def defers(self, event: ReplyInput) -> bool:
        """Whether a piece waits until the draft is used: a call of a function, or a later one."""
        calls = isinstance(event, ReplyEvent) and isinstance(
            event.piece, ToolCallStarted | ToolArguments | ToolCall
        )
        return calls or (bool(self.late) and isinstance(event, ReplyEvent))


@dataclass(slots=True)
class Replies:
    """The replies of a call.

    Attributes:
        tool_calls: the calls of functions that run.
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
        unplayed: older ones of which a client that keeps sound may not have played all.
        apart: replies outside the conversation that are being generated, by generation.
        delivery: the way of the sound to the client.
        text_only: whether replies are words without sound, unless the client asks otherwise.
        options: functions and length of replies, unless the client asks otherwise.
        lexicon: the user's own words, for the spoken form.
    """

    conversation: Conversation
    tool_calls: ToolCalls
    lead: float
    budget: float | None
    new_id: Callable[[str], str]
    generation: int = 0
    current: ReplyInFlight | None = None
    draft: Draft | None = None
    kept: ReplyInFlight | None = None
    lexicon: Lexicon = EMPTY
    finished: ReplyInFlight | None = None
    unplayed: list[ReplyInFlight] = field(default_factory=list)
    apart: dict[int, ReplyInFlight] = field(default_factory=dict)
    delivery: Delivery = Delivery.PACED
    text_only: bool = False
    options: ReplyOptions = field(default_factory=ReplyOptions)
    _resuming: bool = False
    """Whether the rest of ``kept`` is spoken once it is complete."""

    @property
    def idle(self) -> bool:
        """Whether there is neither a current reply nor a draft."""
        return self.current is None and self.draft is None

    # ---- beginning -----------------------------------------------------------------

    def respond(
        self, turn: Turn, now: float, request: RespondNow = BY_SESSION
    ) -> Iterator[Command]:
        """Reply to ``turn``, the conversation's newest; uses the draft if its prompt is equal."""
        messages = self._prompt(request)
        self.tool_calls.reply_began(request)
        draft = self.draft
        if draft is not None and draft.messages == messages and request == BY_SESSION:
            yield from self._adopt(draft, turn, now)
            return
        yield from self.discard(turn, now)
        reply = self._new(now, request)
        reply.turn, reply.timings = turn, turn.timings
        self._note_speculation(reply, turn, now, hit=False)
        yield from self._release()
        yield from self._start(reply, turn)
        deadline = self._deadline(turn, now)
        yield Respond(reply.generation, messages, deadline, reply.options)

    def respond_apart(self, request: RespondNow, now: float) -> Iterator[Command]:
        """Generate words outside the conversation, beside whatever is spoken."""
        if len(self.apart) >= MAX_APART:
            message = f"{MAX_APART} replies outside the conversation are being generated already"
            yield Trouble("conversation_already_has_active_response", message)
            return
        reply = self._new(now, request)
        self.apart[reply.generation] = reply
        yield self._started(reply)
        yield Respond(reply.generation, self._prompt(request), None, reply.options, apart=True)

    def _prompt(self, request: RespondNow) -> tuple[Message, ...]:
        """The prompt of a reply, with something to answer where nothing was said yet."""
        messages = self.conversation.messages(instructions=request.instructions)
        if request.context is not None:
            messages = (messages[0], *request.context)
        nobody = all(message.role in ("system", "assistant") for message in messages)
        return (*messages, OPENING) if nobody else messages

    def options_of(self, request: RespondNow) -> ReplyOptions:
        """The options of a reply: the request's, else the session's.

        A reply outside the conversation calls no function of this server: its output would have
        no place.
        """
        given: dict[str, object] = {}
        if request.apart:
            tools = self.options.tools if request.tools is None else request.tools
            given["tools"] = tuple(tool for tool in tools if tool.run_by == "client")
        elif request.tools is not None:
            given["tools"] = self.tool_calls.offered(request.tools)
        if request.tool_choice is not None:
            given |= _choice(request.tool_choice)
        if request.max_tokens is not None:
            given["max_tokens"] = whole(request.max_tokens)
        return replace(self.options, **given)  # type: ignore[arg-type]

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
        yield from self._show(reply)
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
        yield Respond(reply.generation, messages, due, self.options)

    def _new(self, now: float, request: RespondNow = BY_SESSION) -> ReplyInFlight:
        self.generation += 1
        text_only = self.text_only if request.text_only is None else request.text_only
        entry = AgentReply(self.new_id("item"), spoken=not text_only)
        response_id = self.new_id("resp")
        lead = math.inf if self.delivery is Delivery.AT_ONCE else self.lead
        reply = ReplyInFlight(
            self.generation,
            response_id,
            entry,
            lead,
            now,
            budget=self.budget,
            request=request,
            report_cut=self.delivery is Delivery.AT_ONCE and not text_only,
            lexicon=self.lexicon,
            options=self.options_of(request),
        )
        reply.playback.not_before = max(
            (now + known.playback.left(now) for known in self._played_before), default=0.0
        )
        return reply

    @property
    def _played_before(self) -> list[ReplyInFlight]:
        """Replies whose sound a client may still be playing, oldest first."""
        return [*self.unplayed, *([self.finished] if self.finished is not None else [])]

    def _start(self, reply: ReplyInFlight, turn: Turn) -> Iterator[Command]:
        if not reply.request.apart:
            turn.reply = reply.entry
        self.current = reply
        yield self._started(reply)

    def _started(self, reply: ReplyInFlight) -> ReplyStarted:
        longest = reply.options.max_tokens
        return ReplyStarted(
            reply.response_id,
            reply.entry.item_id,
            not reply.entry.spoken,
            reply.request.metadata,
            longest,
            reply.request.apart,
        )

    def _show(self, reply: ReplyInFlight) -> Iterator[Command]:
        """Tell the client once of the message of a reply."""
        if not reply.entry.shown:
            reply.entry.shown = True
            item_id = reply.entry.item_id
            yield ReplyItemStarted(reply.response_id, item_id, self._follow(reply, item_id))

    def _follow(self, reply: ReplyInFlight, item_id: str) -> str | None:
        return None if reply.request.apart else self.conversation.follow(item_id)

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
        if any(not isinstance(command, CanvasShown) for command in draft.held):
            yield from self._show(reply)
        yield from draft.held
        for event in draft.late:
            yield from self._piece(reply, event, now)
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
            yield from self._piece(reply, event, now)
        elif event.generation in self.apart:
            yield from self._piece(self.apart[event.generation], event, now)
        elif draft is not None and draft.reply.generation == event.generation:
            if draft.defers(event):
                assert isinstance(event, ReplyEvent)
                draft.late.append(event)
                return
            for command in _plain_piece(draft.reply, event, now):
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

    def _piece(self, reply: ReplyInFlight, event: ReplyInput, now: float) -> Iterator[Command]:
        match event:
            case ReplyEvent(piece=ReplyText()):
                yield from self._show(reply)
            case ReplyEvent(piece=ToolCallStarted() as piece):
                yield from self._call_started(reply, piece)
            case ReplyEvent(piece=ToolArguments(call_id, delta)):
                if (call := reply.running_calls.get(call_id)) is not None:
                    known = call.call
                    call.call = replace(known, arguments=known.arguments + delta)
                    ids = (reply.response_id, call.item_id, known.call_id)
                    if call.run_by == "client":
                        yield FunctionArgumentsDelta(*ids, delta)
            case ReplyEvent(piece=ToolCall() as piece):
                yield from self._called(reply, piece, now)
            case ReplyEvent(piece=ReplyDone()) if not reply.entry.calls:
                yield from self._show(reply)
        yield from _plain_piece(reply, event, now)

    def _call_started(self, reply: ReplyInFlight, piece: ToolCallStarted) -> Iterator[Command]:
        """Give the call an item, and another id where the conversation has a call of its id.

        A client runs every call in the output of a response. A call of this server's function is
        therefore no part of that: its item is shown once the call is complete.
        """
        taken = self.conversation.call(piece.call_id) is not None or not piece.call_id
        call_id = self.new_id("call") if taken else piece.call_id
        call = FunctionCall(self.new_id("item"), ToolCall(call_id, piece.name, ""))
        call.run_by = reply.tool(piece.name).run_by
        reply.running_calls[piece.call_id] = call
        if call.run_by == "server":
            return
        previous = self._follow(reply, call.item_id)
        yield FunctionCallStarted(reply.response_id, call.item_id, previous, call_id, piece.name)

    def _called(self, reply: ReplyInFlight, piece: ToolCall, now: float) -> Iterator[Command]:
        if piece.call_id not in reply.running_calls:
            yield from self._call_started(reply, ToolCallStarted(piece.call_id, piece.name))
        running = reply.running_calls[piece.call_id]
        if running.run_by == "client" and not piece.problem:
            yield from self._for_client(reply, running, piece)
        entry = reply.call_complete(piece)
        if not reply.request.apart:
            yield from self.tool_calls.begin(reply, entry, now)

    @staticmethod
    def _for_client(
        reply: ReplyInFlight, running: FunctionCall, piece: ToolCall
    ) -> Iterator[Command]:
        """Let the client run a call."""
        ids, call_id = (reply.response_id, running.item_id), running.call.call_id
        if not running.call.arguments:
            yield FunctionArgumentsDelta(*ids, call_id, piece.arguments)
        yield FunctionCallDone(*ids, None, call_id, piece.name, piece.arguments)

    def fill(self, words: str) -> Iterator[Command]:
        """Speak a filler while the caller waits for the current reply."""
        if self.current is not None and self.current.entry.spoken:
            yield from self._show(self.current)
            yield from self.current.fill(words)

    def _too_long(self, event: ReplyEvent) -> bool:
        if not isinstance(event.piece, ReplyText):
            return False
        drafted = None if self.draft is None else self.draft.reply
        running = [self.current, drafted, *self.apart.values()]
        return any(
            len(reply.entry.text) + len(event.piece.text) > MAX_REPLY
            for reply in running
            if reply is not None and reply.generation == event.generation
        )

    def pump(self, now: float) -> Iterator[Command]:
        """Send the sound that is due; finish the reply once all of it was heard."""
        for reply in [reply for reply in self.apart.values() if reply.generated]:
            del self.apart[reply.generation]
            yield from reply.tell_end(sound_in_events=False)
            yield reply.finish()
        if self.current is None:
            return
        yield from self.current.pump(now)
        events = self.delivery is not Delivery.TRACK
        yield from self.current.tell_end(sound_in_events=events)
        if self.current.over(now):
            yield self.current.finish()
            self.finished, self.current = self.current, None
            yield from self.tool_calls.reply_ended(self.finished, now, cut=False)

    def make_room(self, now: float) -> Iterator[Command]:
        """End the current reply for the next one if the client has all of its sound.

        A client that takes sound at once plays the next one after it.
        """
        reply = self.current
        if reply is None or self.delivery is not Delivery.AT_ONCE or not reply.told:
            return
        yield reply.finish()
        self._keep_unplayed(now)
        self.finished, self.current = reply, None

    def _keep_unplayed(self, now: float) -> None:
        """Remember the replies of which the client still has sound."""
        earlier = [known for known in self._played_before if known.playback.left(now) > 0]
        self.unplayed = earlier[-MAX_UNPLAYED:]

    def _cut_unplayed(self, now: float) -> Iterator[Command]:
        """Cut what the client had not played of earlier replies when the caller interrupted."""
        for reply in self._played_before:
            if reply.report_cut and reply.playback.left(now) > 0:
                position = reply.playback.heard(now)
                reply.playback.cut()
                reply.truncate(position)
                yield ItemTruncated(reply.entry.item_id, position)
        self.unplayed = []

    def next_due(self, now: float) -> float | None:
        """Monotonic second at which `pump` has work; None while there is none."""
        if self.current is None or self.current.paused:
            return None
        if self.current.over(now):
            return now  # a draft without sound, complete before it was used
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
        if reason == "turn_detected":
            yield from self._cut_unplayed(now)
        else:
            self._keep_unplayed(now)
        self.generation += 1
        self.finished = reply
        yield from reply.cut(now, reason, status)
        if keep and reply.done is None:
            self.kept = reply
            yield AbandonSpeech(reply.generation)
        else:
            yield Abandon(reply.generation)
        yield from self.tool_calls.reply_ended(reply, now, cut=True)

    def cancel(self, event: CancelReply, now: float) -> Iterator[Command]:
        """Stop the current reply, or the one that the client names."""
        for reply in list(self.apart.values()):
            if reply.response_id == event.response_id:
                yield from self._stop_apart(reply, now, "client_cancelled", "cancelled")
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

    def _stop_apart(
        self, reply: ReplyInFlight, now: float, reason: str, status: Literal["cancelled", "failed"]
    ) -> Iterator[Command]:
        del self.apart[reply.generation]
        ids = (reply.response_id, reply.entry.item_id)
        yield ReplyFinished(*ids, status, reason, reply.entry.text, usage=reply.usage)
        yield Abandon(reply.generation)

    def truncate(self, event: Truncate, now: float) -> Iterator[Command]:
        """Cut the newest reply in the history to what the client has played; ends it if it runs."""
        for reply in (self.current, *self._played_before):
            if reply is not None and reply.entry.item_id == event.item_id:
                reply.truncate(event.played)
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
        if self.kept is not None and self.kept.generation == event.generation:
            yield from self._release()
        elif self.draft is not None and self.draft.reply.generation == event.generation:
            self.draft = None
            yield Abandon(event.generation)
        elif event.generation in self.apart:
            yield Trouble(f"{event.stage}_failed", event.message, kind="server_error")
            yield from self._stop_apart(self.apart[event.generation], now, event.message, "failed")
        elif self.current is not None and self.current.generation == event.generation:
            yield Trouble(f"{event.stage}_failed", event.message, kind="server_error")
            yield from self.stop(now, event.message, "failed")


def whole(tokens: float) -> int | None:
    """A limit of tokens; None where it is infinite."""
    return None if math.isinf(tokens) else int(tokens)


def _choice(choice: ToolChoice) -> dict[str, object]:
    return {"tool_choice": choice.choice, "tool_name": choice.name}


def _plain_piece(reply: ReplyInFlight, event: ReplyInput, now: float) -> Iterator[Command]:
    match event:
        case ReplyEvent(piece=Prefilled() as prompt):
            reply.prompt = prompt
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
