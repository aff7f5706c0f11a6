"""The conversation of one call without I/O: ``Session.handle(input, now)`` returns commands.

A session reads no clock, waits for nothing and knows no engine. ``user_turn`` is the caller's
side, ``replies`` the agent's; this module passes the effects of one side on to the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import assert_never

from agent.config.settings import Settings
from agent.reply import FunctionTool, Prefilled, ReplyOptions
from agent.session.barge_in import BargeIn
from agent.session.commands import Command, DropTurnAudio, Prepare, WakeAt
from agent.session.connection import Connection, ConnectionAction, ConnectionEvent
from agent.session.conversation import Conversation, Turn
from agent.session.decisions import Decisions
from agent.session.effects import Effects
from agent.session.events import (
    AudioFrame,
    CallEnding,
    CallStarted,
    CancelReply,
    ClearAudio,
    CommitAudio,
    Configure,
    ConnectionLost,
    ConnectionResumed,
    CreateItem,
    Decided,
    DecideNow,
    DeleteItem,
    DeviceChanged,
    FinalTranscript,
    Input,
    Leave,
    PartialTranscript,
    PauseJudged,
    ReplyEvent,
    RespondNow,
    RetrieveItem,
    SegmentSpoken,
    SoundReady,
    StageFailed,
    TextTyped,
    Tick,
    ToolReturned,
    Truncate,
)
from agent.session.ids import Ids
from agent.session.items import Items, Unplaced
from agent.session.lifecycle import Lifecycle
from agent.session.notices import (
    Configured,
    Remark,
    Resumed,
    TranscriptFailed,
    TranscriptUpdated,
    Trouble,
    TurnTimed,
)
from agent.session.pending_reply import PendingReply
from agent.session.playback import Delivery
from agent.session.replies import Replies
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.reply_settings import ReplySettings
from agent.session.tool_calls import ToolCalls
from agent.session.user_turn import STARVED_RESUMABLE_SECONDS, UserTurn
from agent.timing import Stage
from agent.turn_taking.addressee import Addressee
from agent.turn_taking.completeness import LANGUAGE
from agent.turn_taking.detector import TurnEvent
from agent.turn_taking.floor import FloorRequest, floor_request
from asr.transcript import Transcript

_ANSWERED = (FloorRequest.NONE, FloorRequest.ATTENTION)
MAX_UNTRANSCRIBED = 4
"""Finished turns of one call that may wait for their transcript; all calls share a recogniser."""


@dataclass(slots=True)
class Session:
    """The conversation of one call.

    Attributes:
        started_at: monotonic second at which the call began.
        delivery: the way of a reply's sound to the client.
        addressee: tells turns that are meant for others.
        tools: the functions of this server that replies may call.
        create_response: whether the end of a turn starts a reply.
        interrupt_response: whether the caller's speech may interrupt a reply.
        transcription_only: whether the caller is written down and never answered.
        connection: the connection to the client, which may be lost for a while.
    """

    settings: Settings
    started_at: float
    delivery: Delivery = Delivery.PACED
    tools: tuple[FunctionTool, ...] = ()
    connection: Connection = field(default_factory=Connection)
    conversation: Conversation = field(init=False)
    user_turn: UserTurn = field(init=False)
    replies: Replies = field(init=False)
    barge_in: BargeIn = field(init=False)
    lifecycle: Lifecycle = field(init=False)
    pending_reply: PendingReply = field(init=False)
    tool_calls: ToolCalls = field(init=False)
    ids: Ids = field(init=False)
    items: Items = field(init=False)
    decisions: Decisions = field(init=False)
    addressee: Addressee = field(default_factory=Addressee)
    create_response: bool = True
    interrupt_response: bool = True
    transcription_only: bool = False

    def __post_init__(self) -> None:
        settings = self.settings
        responder = settings.responder
        self.conversation = Conversation(responder.instructions, responder.history_characters)
        self.user_turn = UserTurn(settings.turns, settings.asr.language)
        if self.connection.patience:
            self.user_turn.starved_seconds = STARVED_RESUMABLE_SECONDS
        self.ids = Ids(self.conversation, self.user_turn)
        lead, budget = settings.playback.lead, settings.budget.total
        self.tool_calls = ToolCalls(
            self.conversation,
            self.ids.new,
            self.tools,
            settings.tools.seconds,
            settings.call.filler or "",
            settings.call.filler_after,
        )
        of_replies = ReplySettings(
            self.tool_calls,
            lead,
            budget,
            settings.tts.words,
            ReplyOptions(self.tools),
            self.delivery,
        )
        self.replies = Replies(
            self.conversation, self.tool_calls, of_replies, self.ids.new, self.connection
        )
        self.tool_calls.say = partial(self.replies.say, aside=True)
        self.items = Items(self.conversation, self.user_turn, self.ids)
        self.pending_reply = PendingReply(self.conversation, self.user_turn, self.replies, self.ids)
        self.barge_in = BargeIn(settings.turns, self.user_turn, self.replies)
        ends_at = self.started_at + settings.server.max_call_seconds
        self.lifecycle = Lifecycle(settings.call, self.replies, ends_at)
        self.decisions = Decisions(
            self.conversation,
            self.user_turn,
            self.replies,
            self.pending_reply,
            Effects(self.conversation, self.replies, self.pending_reply, self.lifecycle),
            settings.decisions.asked,
            settings.decisions.effects,
            settings.decisions.timeout,
        )

    def handle(self, event: Input, now: float) -> list[Command]:
        """Take one input at monotonic second ``now``; returns the commands to execute, in order."""
        commands = [*self._dispatch(event, now), *self._settle(now)]
        commands += [remark for command in commands for remark in self._overruns(command)]
        wake = self._next_wake(now)
        return commands if wake is None else [*commands, WakeAt(wake)]

    def _dispatch(self, event: Input, now: float) -> Iterator[Command]:
        match event:
            case AudioFrame():
                return self._audio_frame(event, now)
            case CommitAudio():
                return self._commit(now)
            case ClearAudio():
                return self._clear(now)
            case TextTyped():
                self.lifecycle.caller_spoke()
                return self._typed(self.items.type_text(event), now)
            case CreateItem():
                return self._create_item(event, now)
            case RetrieveItem():
                return self.items.retrieve(event)
            case DeleteItem():
                return self._delete_item(event, now)
            case RespondNow():
                return self._respond_now(event, now)
            case CancelReply():
                return self.replies.cancel(event, now)
            case Truncate():
                return self.replies.truncate(event, now)
            case Configure():
                return self._configure(event, now)
            case PartialTranscript():
                return self._partial(event, now)
            case FinalTranscript():
                return self._final(event, now)
            case PauseJudged():
                return self._pause_judged(event, now)
            case ReplyEvent(piece=Prefilled() as piece):
                return self._prefilled(event, piece, now)
            case ReplyEvent() | SoundReady() | SegmentSpoken():
                return self.replies.take(event, now)
            case StageFailed():
                return self._failed(event, now)
            case Decided():
                return self.decisions.take(event, now)
            case DecideNow():
                return self.decisions.on_demand(event)
            case CallEnding():
                return self.decisions.end()
            case ToolReturned():
                return self._tool_returned(event, now)
            case CallStarted():
                return self._started(now)
            case ConnectionLost():
                return self._connection_lost(event, now)
            case ConnectionResumed():
                return self._resumed(event, now)
            case DeviceChanged():
                self.replies.unsettle()
                return iter(())
            case Leave():
                return self.lifecycle.leave(event.reason, now)
            case Tick():
                return iter(())
            case _:
                assert_never(event)

    # ---- the caller's side ---------------------------------------------------------

    def _audio_frame(self, event: AudioFrame, now: float) -> Iterator[Command]:
        change = self.user_turn.take_frame(event)
        if change is TurnEvent.BEGAN:
            yield from self._turn_began(now)
        yield from self.user_turn.feed()
        if change is TurnEvent.PAUSED:
            yield from self.user_turn.ask_turn_model()
        if change is TurnEvent.RESUMED:
            yield from self._discard_draft(now)
            yield from self.user_turn.resume(now)
            self.barge_in.resumed()
        if change is TurnEvent.ENDED:
            yield from self._end_turn(now)
        yield from self.user_turn.request_transcript(now)
        yield from self.barge_in.judge(now)

    def _turn_began(self, now: float) -> Iterator[Command]:
        interrupt = self.interrupt_response and self.user_turn.detection
        yield from self.barge_in.begin(self.ids.turn(), now, may_interrupt=interrupt)
        if self.barge_in.overlap is None:
            # The caller's speech leaves time to read the last turn into the cache.
            yield self._prepare()

    def _partial(self, event: PartialTranscript, now: float) -> Iterator[Command]:
        before = self._stable_words
        yield from self.user_turn.take_partial(event.turn, event.transcript)
        if event.transcript.text:
            # An empty hypothesis is no evidence: there was too little sound for words.
            text = event.transcript.text
            yield from self.barge_in.transcribed(event.turn, text, now, final=False)
        if self._stable_words != before and self.replies.idle:
            yield self._prepare(self._stable_words)

    @property
    def _stable_words(self) -> str:
        return "" if self.user_turn.open is None else self.user_turn.open.shown

    def _final(self, event: FinalTranscript, now: float) -> Iterator[Command]:
        if self.user_turn.take_revision(event.turn, event.revision, event.transcript, now):
            words = event.transcript.text.strip()
            yield from self.barge_in.transcribed(event.turn, words, now, final=True)
            yield from self._revised(words, now)
        elif turn := self.user_turn.take_final(event.turn, event.revision, now):
            yield from self._transcribed(turn, event.transcript, now)

    def _revised(self, words: str, now: float) -> Iterator[Command]:
        """Draft a reply to the transcript up to a pause, unless its words are incomplete."""
        free = self.replies.idle and not self.user_turn.closed
        if free and words and self._answers and self._needs_reply(words):
            yield from self.replies.speculate(words, self.user_turn.speech_end_at, now)
            self.user_turn.await_ending()
        if words and self.user_turn.open is not None:
            yield from self.decisions.pause(self.user_turn.open.turn, words)
        yield from self._expire(now)

    def _needs_reply(self, words: str) -> bool:
        """Whether the words up to a pause of the open turn may be answered as they are."""
        opened = self.user_turn.open
        if opened is None or self.barge_in.is_wordless(opened.turn, words):
            return False
        expects_more = self.user_turn.endpointing.expects_more(words)
        return not expects_more and self._floor_request(words) in _ANSWERED

    def _floor_request(self, words: str) -> FloorRequest:
        english = self.user_turn.language == LANGUAGE
        return floor_request(words) if english else FloorRequest.NONE

    def _pause_judged(self, event: PauseJudged, now: float) -> Iterator[Command]:
        self.user_turn.pause_judged(event)
        yield from self._expire(now)

    def _expire(self, now: float) -> Iterator[Command]:
        """End the turn if its pause has already lasted longer than the new delay."""
        if self.user_turn.detector.expire(self.user_turn.position) is TurnEvent.ENDED:
            yield from self._end_turn(now)

    def _end_turn(self, now: float) -> Iterator[Command]:
        """Close the open turn and add it to the conversation."""
        opened = self.user_turn.open
        if opened is None:
            return
        if len(self.user_turn.closed) >= MAX_UNTRANSCRIBED:
            message = f"{MAX_UNTRANSCRIBED} turns wait for their words already; this one is dropped"
            yield Trouble("too_many_turns", message)
            yield from self._clear(now)
            return
        if opened.words is not None:
            yield from self.barge_in.let_both_speak()
        known = opened.words is not None or self.barge_in.uninterruptible
        if known and self.barge_in.asks_for_nothing:
            yield from self.barge_in.dismiss("" if opened.words is None else opened.words.text)
            return
        yield from self.barge_in.interrupt(now)
        yield from self.user_turn.close(now)
        self.conversation.add(opened.turn)
        place = self.conversation.follow(opened.turn.item_id)
        yield from self.user_turn.announce_end(opened.turn, place)
        if opened.words is not None:
            final = FinalTranscript(opened.turn.id, opened.turn.revision, opened.words)
            yield from self._final(final, now)

    def _commit(self, now: float) -> Iterator[Command]:
        if self.user_turn.open is None:
            yield Trouble(
                "input_audio_buffer_commit_empty",
                "no audio since the last commit; append audio first",
            )
            return
        yield from self.barge_in.interrupt(now)
        yield from self._end_turn(now)

    def _transcribed(self, turn: Turn, words: Transcript, now: float) -> Iterator[Command]:
        """Take the final transcript of a finished turn; a reply is due if it has words."""
        yield DropTurnAudio(turn.id)
        text = turn.transcript = words.text.strip()
        turn.timings.mark(Stage.TRANSCRIPT, now)
        if turn.unheard is not None:
            yield TranscriptFailed(turn.item_id, turn.unheard)
        elif turn.shown:
            yield TranscriptUpdated(turn.item_id, text, "", final=True, seconds=words.audio_end)
        else:
            text = turn.transcript = ""  # it was deleted meanwhile
        if text:
            self.lifecycle.caller_spoke()
        if self.barge_in.is_false_barge_in(turn):
            yield from self._resume_reply(now)
            return
        if self.barge_in.echoes(turn):
            turn.aside = True
            return
        if text and self._answers and not turn.on_request:
            self._decide_on_reply(turn)
        yield from self.decisions.turn_over(turn, now)

    def _decide_on_reply(self, turn: Turn) -> None:
        """Request a reply to a finished turn, unless it is about the floor or for others."""
        turn.aside = True
        waits = self.conversation.unanswered() is not None
        match self._floor_request(turn.transcript):
            case FloorRequest.STOP:
                self.conversation.withdraw()
                self.tool_calls.supersede()
                self.pending_reply.withdraw()
            case FloorRequest.WAIT:
                self.pending_reply.wanted = False
            case FloorRequest.ATTENTION if waits:
                self.pending_reply.wanted = True
            case _ if not self.addressee.is_agent(turn.transcript, turn.to_others):
                pass  # a reply that is due is still due
            case _:
                turn.aside = False
                self.pending_reply.wanted = True

    @property
    def _answers(self) -> bool:
        """Whether the end of a turn starts a reply."""
        by_itself = self.create_response and self.user_turn.detection
        return by_itself and not self.transcription_only and not self.decisions.closing

    def _resume_reply(self, now: float) -> Iterator[Command]:
        """Go on after a false barge-in: with the rest of the reply, or with a new reply."""
        if self.barge_in.reopen_question():
            self.pending_reply.ask_again()
        elif not self.pending_reply.wanted:
            yield from self.barge_in.resume_reply(now)

    def _clear(self, now: float) -> Iterator[Command]:
        interrupted = self.user_turn.open is not None and self.barge_in.caused_by(
            self.user_turn.open.turn
        )
        yield from self.user_turn.clear()
        if interrupted:
            yield from self._resume_reply(now)

    def _typed(self, commands: Iterator[Command], now: float) -> Iterator[Command]:
        """Add typed words to the conversation, and decide about them."""
        before = self.conversation.turns[-1] if self.conversation.turns else None
        yield from commands
        newest = self.conversation.turns[-1] if self.conversation.turns else None
        if newest is not None and newest is not before and not newest.spoken:
            yield from self.decisions.turn_over(newest, now)

    def _create_item(self, event: CreateItem, now: float) -> Iterator[Command]:
        sound = event.item.sound is not None
        if sound and len(self.user_turn.closed) >= MAX_UNTRANSCRIBED:
            message = f"{MAX_UNTRANSCRIBED} turns wait for their words already; try again later"
            yield Trouble("too_many_turns", message, param="item")
            return
        self.lifecycle.caller_spoke()
        yield from self._typed(self.items.create(event), now)
        call = self.conversation.call(event.item.call_id)
        if call is not None and call.run_by == "client" and call.output is not None:
            yield from self.tool_calls.answered(event.item.call_id, now)

    def _delete_item(self, event: DeleteItem, now: float) -> Iterator[Command]:
        current = self.replies.current
        if current is not None and event.item_id in current.shown_ids:
            yield from self.replies.stop(now, "client_cancelled")
        yield from self.items.delete(event)

    def _respond_now(self, event: RespondNow, now: float) -> Iterator[Command]:
        if self.transcription_only:
            message = "this session only transcribes; open one of type realtime for replies"
            yield Trouble("invalid_value", message, param="type")
            return
        if event.ignored:
            yield Remark("settings_ignored", "not applied: " + "; ".join(event.ignored))
            event = replace(event, ignored=())
        try:
            if event.items is not None:
                context = self.items.conversation_of(event.items).messages()[1:]
                event = replace(event, items=None, context=context)
        except Unplaced as error:
            yield error.trouble
            return
        yield from self.pending_reply.ask(event, now)

    # ---- the agent's side ----------------------------------------------------------

    def _started(self, now: float) -> Iterator[Command]:
        if self.transcription_only:
            return
        yield self._prepare()
        yield from self.lifecycle.greet(now)

    def _prefilled(self, event: ReplyEvent, piece: Prefilled, now: float) -> Iterator[Command]:
        """Take what the responder's state at the last word of a draft's prompt says of the turn."""
        draft = self.replies.draft
        yield from self.replies.take(event, now)
        if draft is not None and draft.reply.generation == event.generation:
            self.user_turn.take_ending(piece.ending)
            yield from self._expire(now)

    def _tool_returned(self, event: ToolReturned, now: float) -> Iterator[Command]:
        """Take what a function of this server returned; it may end the call."""
        if not self.tool_calls.runs(event.call_id):
            return  # it was given up
        goodbye = event.goodbye and not self.tool_calls.spoke(event.call_id)
        yield from self.tool_calls.returned(event, now)
        if event.leave:
            yield from self.lifecycle.leave(event.leave, now, goodbye=goodbye)

    def _prepare(self, words: str = "") -> Prepare:
        return Prepare(self.conversation.messages(words), self.replies.settings.options)

    def _discard_draft(self, now: float) -> Iterator[Command]:
        turn = None if self.user_turn.open is None else self.user_turn.open.turn
        yield from self.replies.discard(turn, now)

    # ---- the connection ------------------------------------------------------------

    def _connection_lost(self, event: ConnectionLost, now: float) -> Iterator[Command]:
        self.connection.take(ConnectionEvent.LOST, now, event.last_seen)
        if self.lifecycle.leaving:
            yield from self.lifecycle.end(self.lifecycle.reason)

    def _resumed(self, event: ConnectionResumed, now: float) -> Iterator[Command]:
        """Tell another connection where the conversation stands, and go on."""
        action = self.connection.take(ConnectionEvent.RESUMED, now, event.last_seen)
        if action is not ConnectionAction.GO_ON:
            return
        self.user_turn.reconnected(now)
        running = self.replies.resume_over(event, now)
        retold = {name for reply in running for name in self.replies.items.retold(reply)}
        yield Resumed(self.items.shown(retold), event.token, self.connection.patience)
        yield from self.user_turn.tell_again()
        for reply in running:
            yield from self.replies.items.tell_again(reply, now)

    def _wait_for_client(self, now: float) -> Iterator[Command]:
        """Carry out what time makes due while nobody is there."""
        yield from self._settle_tools(now)
        yield from self.pending_reply.settle(now)
        self.lifecycle.observe(now, quiet=False)
        if self.connection.expire(now) is ConnectionAction.END:
            waited = f"{self.connection.patience:.0f} s"
            yield from self.lifecycle.end(f"the client did not come back within {waited}")
        elif self.lifecycle.due_to_end(now):
            yield from self.lifecycle.end()

    # ---- everything else -----------------------------------------------------------

    def _configure(self, event: Configure, now: float) -> Iterator[Command]:
        if event.instructions is not None:
            self.conversation.instructions = event.instructions
        if event.create_response is not None:
            self.create_response = event.create_response
        if event.interrupt_response is not None:
            self.interrupt_response = event.interrupt_response
        if event.idle_after is not None:
            self.lifecycle.idle_after = event.idle_after
        if event.transcription_only is not None:
            self.transcription_only = event.transcription_only
            self.decisions.effects.muted = event.transcription_only
        self.replies.settings.configure(event)
        opened = self.user_turn.open
        yield from self.user_turn.configure(event)
        yield Configured(event)
        if (
            opened is not None
            and self.user_turn.open is None
            and self.barge_in.caused_by(opened.turn)
        ):
            yield from self._resume_reply(now)
        if event.instructions is not None or event.tools is not None:
            yield self._prepare()

    def _failed(self, event: StageFailed, now: float) -> Iterator[Command]:
        if event.stage != "asr":
            failing = self.replies.current
            yield from self.replies.failed(event, now)
            if failing is not None and self.replies.current is None:
                yield from self._apologise(failing, now)
            if self.replies.draft is None:
                self.user_turn.take_ending(None)
            return
        yield Trouble("asr_failed", event.message, kind="server_error")
        if (closed := self.user_turn.closed.get(event.turn)) is not None:
            closed.unheard = event.message
        nothing = Transcript("", 0, final=True)
        yield from self._final(FinalTranscript(event.turn, event.revision, nothing), now)

    def _apologise(self, failed: ReplyInFlight, now: float) -> Iterator[Command]:
        """Say that a reply failed, unless it was a fixed sentence itself, or the caller speaks."""
        apology = self.settings.call.apology
        speaking = self.user_turn.open is not None or self.pending_reply.wanted
        if apology and failed.turn is not None and not (speaking or self.lifecycle.leaving):
            yield from self.replies.say(apology, now)

    def _settle(self, now: float) -> Iterator[Command]:
        """Carry out everything that the time or the new state makes due."""
        if not self.connection.up:
            yield from self._wait_for_client(now)
            return
        starved = self.user_turn.starved_at
        if starved is not None and now >= starved:
            yield from self._end_turn(now)
        yield from self.replies.pump(now)
        yield from self.barge_in.settle()
        yield from self._settle_tools(now)
        yield from self.pending_reply.settle(now)
        yield from self.decisions.settle(now)
        if self.user_turn.open is None and not self.pending_reply.wanted:
            yield from self._discard_draft(now)
        yield from self._advance_lifecycle(now)

    def _settle_tools(self, now: float) -> Iterator[Command]:
        """Carry out what is due about calls of functions; a reply may follow them."""
        listening = self.user_turn.open is not None or bool(self.user_turn.closed)
        idle = self.replies.idle and not (listening or self.pending_reply.wanted)
        quiet = idle and not self.lifecycle.leaving
        yield from self.tool_calls.settle(now, quiet=quiet, answers=self.create_response)
        if self.tool_calls.due is not None:
            self.pending_reply.follow(self.tool_calls.due)

    def _advance_lifecycle(self, now: float) -> Iterator[Command]:
        yield from self.lifecycle.act(now)
        self.barge_in.uninterruptible = leaving = self.lifecycle.leaving
        busy = self.replies.current is not None or self.pending_reply.wanted
        busy = busy or (self.tool_calls.busy and not leaving)
        listening = self.user_turn.open is not None or bool(self.user_turn.closed)
        quiet = not busy and (leaving or not listening)
        self.lifecycle.observe(now, quiet=quiet, position=self.user_turn.position)

    def _overruns(self, command: Command) -> Iterator[Command]:
        if isinstance(command, TurnTimed):
            for name, seconds in self.settings.budget.latency.overruns(command.spans).items():
                message = f"{name} took {seconds * 1000:.0f} ms more than the budget allows"
                yield Remark("budget_overrun", message)

    def _next_wake(self, now: float) -> float | None:
        if not self.connection.up:
            due = [self.connection.deadline, self.lifecycle.ends_at, self.tool_calls.wakes_at]
            return min(time for time in due if time is not None)
        times = [self.user_turn.starved_at, self.replies.next_due(now), self.tool_calls.wakes_at]
        fixed = (self.lifecycle.wakes_at, self.decisions.wakes_at(now))
        return min((*fixed, *(time for time in times if time is not None)))
