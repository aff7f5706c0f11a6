"""The conversation of one call without I/O: ``Session.handle(input, now)`` returns commands.

A session reads no clock, waits for nothing and knows no engine. ``turns`` is the caller's side,
``replies`` the agent's; this module passes every input on to the side that takes it, and carries
out what time makes due.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

from agent.config.settings import Settings
from agent.reply import FunctionTool, Prefilled, ReplyOptions
from agent.session.barge_in import BargeIn
from agent.session.client_requests import ClientRequests
from agent.session.commands import Command, WakeAt
from agent.session.connection import SLOW_ADVICE, Connection, ConnectionAction, ConnectionEvent
from agent.session.conversation import Conversation
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
    SoundBacklog,
    SoundReady,
    StageFailed,
    TextTyped,
    Tick,
    ToolReturned,
    Truncate,
)
from agent.session.ids import Ids
from agent.session.items import Items
from agent.session.lifecycle import Lifecycle
from agent.session.notices import (
    Configured,
    Remark,
    Resumed,
    Trouble,
    TurnTimed,
)
from agent.session.pending_reply import PendingReply
from agent.session.playback import Delivery
from agent.session.replies import Replies
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.reply_settings import ReplySettings
from agent.session.tool_calls import ToolCalls
from agent.session.turns import Turns
from agent.session.user_turn import STARVED_RESUMABLE_SECONDS, UserTurn
from asr.transcript import Transcript


@dataclass(slots=True)
class Session:
    """The conversation of one call.

    Attributes:
        started_at: monotonic second at which the call began.
        delivery: the way of a reply's sound to the client.
        tools: the functions of this server that replies may call.
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
    turns: Turns = field(init=False)
    requests: ClientRequests = field(init=False)

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
            unspeakable=settings.call.unspeakable or "",
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
        self.turns = Turns(
            self.conversation,
            self.user_turn,
            self.replies,
            self.barge_in,
            self.lifecycle,
            self.pending_reply,
            self.tool_calls,
            self.decisions,
            self.ids,
        )
        self.requests = ClientRequests(
            self.conversation,
            self.user_turn,
            self.turns,
            self.replies,
            self.items,
            self.lifecycle,
            self.pending_reply,
            self.tool_calls,
            self.decisions,
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
                return self.turns.take_frame(event, now)
            case CommitAudio():
                return self.turns.commit(now)
            case ClearAudio():
                return self.turns.clear(now)
            case TextTyped():
                return self.requests.type_text(event, now)
            case CreateItem():
                return self.requests.create_item(event, now)
            case RetrieveItem():
                return self.items.retrieve(event)
            case DeleteItem():
                return self.requests.delete_item(event, now)
            case RespondNow():
                return self.requests.respond(event, now)
            case CancelReply():
                return self.replies.cancel(event, now)
            case Truncate():
                return self.replies.truncate(event, now)
            case Configure():
                return self._configure(event, now)
            case PartialTranscript():
                return self.turns.take_partial(event, now)
            case FinalTranscript():
                return self.turns.take_final(event, now)
            case PauseJudged():
                return self.turns.pause_judged(event, now)
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
            case SoundBacklog():
                return self._backlog(event, now)
            case DeviceChanged():
                self.replies.unsettle()
                return iter(())
            case Leave():
                return self.lifecycle.leave(event.reason, now)
            case Tick():
                return iter(())
            case _:
                assert_never(event)

    # ---- the agent's side ----------------------------------------------------------

    def _started(self, now: float) -> Iterator[Command]:
        if self.turns.transcription_only:
            return
        yield self.replies.prepare()
        yield from self.lifecycle.greet(now)

    def _prefilled(self, event: ReplyEvent, piece: Prefilled, now: float) -> Iterator[Command]:
        """Take what the responder's state at the last word of a draft's prompt says of the turn."""
        draft = self.replies.draft
        yield from self.replies.take(event, now)
        if draft is not None and draft.reply.generation == event.generation:
            self.user_turn.take_ending(piece.ending)
            yield from self.turns.expire(now)

    def _tool_returned(self, event: ToolReturned, now: float) -> Iterator[Command]:
        """Take what a function of this server returned; it may end the call."""
        if not self.tool_calls.runs(event.call_id):
            return  # it was given up
        goodbye = event.goodbye and not self.tool_calls.spoke(event.call_id)
        yield from self.tool_calls.returned(event, now)
        if event.leave:
            yield from self.lifecycle.leave(event.leave, now, goodbye=goodbye)

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

    def _backlog(self, event: SoundBacklog, now: float) -> Iterator[Command]:
        """Hold a reply back while the connection is behind, so that the client hears now."""
        if self.connection.congest(event.full, now):
            yield Remark("network_slow", SLOW_ADVICE)

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
            self.turns.create_response = event.create_response
        if event.interrupt_response is not None:
            self.turns.interrupt_response = event.interrupt_response
        if event.idle_after is not None:
            self.lifecycle.client_idle_after = event.idle_after
        if event.turn_detection is not None:
            self.lifecycle.detects_turns = event.turn_detection
        if event.transcription_only is not None:
            self.turns.transcription_only = event.transcription_only
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
            yield from self.turns.resume_reply(now)
        if event.instructions is not None or event.tools is not None:
            yield self.replies.prepare()

    def _failed(self, event: StageFailed, now: float) -> Iterator[Command]:
        if event.stage != "asr":
            failing = self.replies.current
            yield from self.replies.failed(event, now)
            if failing is not None and self.replies.current is None:
                yield from self._apologise(failing, now)
            if self.replies.draft is None:
                self.user_turn.take_ending(None)
            return
        turn = self.user_turn.find(event.turn)
        if turn is None or not turn.failed:  # once in a turn, whose words may be asked for twice
            yield Trouble("asr_failed", event.message, kind="server_error")
        if turn is not None:
            turn.failed = True
        if self.user_turn.revision_failed(event.turn, event.revision):
            return
        if (closed := self.user_turn.closed.get(event.turn)) is not None:
            closed.unheard = event.message
        nothing = Transcript("", 0, final=True)
        yield from self.turns.take_final(FinalTranscript(event.turn, event.revision, nothing), now)

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
            yield from self.turns.end(now)
        yield from self.replies.pump(now)
        yield from self.barge_in.settle()
        yield from self._settle_tools(now)
        yield from self.pending_reply.settle(now)
        yield from self.decisions.settle(now)
        if self.user_turn.open is None and not self.pending_reply.wanted:
            yield from self.turns.discard_draft(now)
        yield from self._advance_lifecycle(now)

    def _settle_tools(self, now: float) -> Iterator[Command]:
        """Carry out what is due about calls of functions; a reply may follow them."""
        listening = self.user_turn.open is not None or bool(self.user_turn.closed)
        idle = self.replies.idle and not (listening or self.pending_reply.wanted)
        quiet = idle and not self.lifecycle.leaving
        yield from self.tool_calls.settle(now, quiet=quiet, answers=self.turns.create_response)
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
