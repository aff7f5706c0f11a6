"""The whole agent without I/O: ``Session.handle(input, now)`` returns commands.

It reads no clock, waits for nothing and knows no engine. A barge-in raises the
generation; whatever still arrives of an older one is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, assert_never

from agent.commands import Abandon, Command, HangUp, Prepare, Respond, WakeAt
from agent.config import Settings
from agent.conversation import Conversation, Reply, Turn
from agent.events import (
    CallStarted,
    CancelReply,
    ClearAudio,
    CommitAudio,
    Configure,
    Denoised,
    FinalHeard,
    Heard,
    Input,
    PartialHeard,
    PromptReady,
    ReplyComplete,
    RespondNow,
    SegmentSpoken,
    SoundReady,
    StageFailed,
    TextReady,
    TextSaid,
    Tick,
    Truncate,
)
from agent.hearing import Hearing
from agent.notices import (
    CanvasShown,
    Configured,
    ItemTruncated,
    ReplyStarted,
    TextAccepted,
    Trouble,
    WordsHeard,
)
from agent.speaking import Speaking
from agent.timing import Stage
from agent.turns import TurnEvent
from asr.transcript import Transcript

NORMAL_CLOSURE = 1000
MAX_UNHEARD = 4
"""Finished turns of one call that may wait for the recogniser, which all calls share."""
MAX_REPLY = 4000
"""Characters of one reply: some four minutes of speech."""
TOO_LONG = f"the reply has more than {MAX_REPLY} characters"
NOTHING_TO_ANSWER = Trouble("conversation_empty", "nothing was said yet that could be answered")


@dataclass(slots=True)
class Session:
    """One call."""

    settings: Settings
    started_at: float
    conversation: Conversation = field(init=False)
    hearing: Hearing = field(init=False)
    speaking: Speaking | None = None
    finished: Speaking | None = None
    """The last reply, as long as the client may still report how much of it was played."""
    generation: int = 0
    create_response: bool = True
    interrupt_response: bool = True
    _ids: int = 0
    _turns: int = 0
    _last_item: str | None = None
    _owed: bool = False
    """The caller waits for an answer that cannot begin yet."""
    _asked: bool = False
    """He asked for it, so that he is told when there is nothing to answer."""

    def __post_init__(self) -> None:
        responder = self.settings.responder
        self.conversation = Conversation(responder.instructions, responder.history_characters)
        self.hearing = Hearing(self.settings.turns)

    def handle(self, event: Input, now: float) -> list[Command]:
        """Take one input at monotonic second ``now``; returns what is to be done, in order."""
        commands = [*self._dispatch(event, now), *self._settle(now)]
        wake = self._next_wake(now)
        return commands if wake is None else [*commands, WakeAt(wake)]

    def _dispatch(self, event: Input, now: float) -> Iterator[Command]:
        match event:
            case Heard():
                return self._heard(event, now)
            case CommitAudio():
                return self._commit(now)
            case ClearAudio():
                return self.hearing.clear()
            case TextSaid():
                return self._text_said(event)
            case RespondNow():
                return self._respond_now()
            case CancelReply():
                return self._cancel(event, now)
            case Truncate():
                return self._truncate(event)
            case Configure():
                return self._configure(event)
            case PartialHeard():
                return self.hearing.partial(event.turn, event.transcript)
            case FinalHeard():
                return self._final_heard(event, now)
            case PromptReady() | Denoised() | TextReady() | ReplyComplete():
                return self._reply_piece(event, now)
            case SoundReady() | SegmentSpoken():
                return self._sound(event, now)
            case StageFailed():
                return self._failed(event, now)
            case CallStarted():
                return iter((Prepare(self.conversation.messages()),))
            case Tick():
                return iter(())
            case _:
                assert_never(event)

    # ---- the caller's half ---------------------------------------------------------

    def _heard(self, event: Heard, now: float) -> Iterator[Command]:
        change = self.hearing.frame(event)
        if change is TurnEvent.BEGAN:
            yield from self._turn_began(now)
        yield from self.hearing.feed()
        if change is TurnEvent.ENDED:
            yield from self._end_turn(now)

    def _turn_began(self, now: float) -> Iterator[Command]:
        if self.interrupt_response and self.hearing.detection:
            yield from self._stop(now, "turn_detected")
        yield from self.hearing.begin(self._new_turn())
        # While the caller speaks there is time to cache what the last turn left behind.
        yield Prepare(self.conversation.messages())

    def _new_turn(self, item_id: str | None = None) -> Turn:
        self._turns += 1
        return Turn(self._turns, item_id or self._new_id("item"))

    def _end_turn(self, now: float) -> Iterator[Command]:
        """Close the open turn; from now on it has its place in the conversation."""
        if self.hearing.open is None:
            return
        if len(self.hearing.closed) >= MAX_UNHEARD:
            message = f"{MAX_UNHEARD} turns wait for their words already; this one is dropped"
            yield Trouble("too_many_turns", message)
            yield from self.hearing.clear()
            return
        turn = self.hearing.open.turn
        self.conversation.add(turn)
        yield from self.hearing.end(now, self._last_item)
        self._last_item = turn.item_id

    def _commit(self, now: float) -> Iterator[Command]:
        if self.hearing.open is None:
            yield Trouble(
                "input_audio_buffer_commit_empty",
                "nothing was heard since the last commit; append audio first",
            )
            return
        yield from self._end_turn(now)

    def _final_heard(self, event: FinalHeard, now: float) -> Iterator[Command]:
        turn = self.hearing.final(event.turn, event.revision)
        if turn is None:
            return
        turn.heard = event.transcript.text.strip()
        turn.timings.mark(Stage.TRANSCRIPT, now)
        seconds = event.transcript.audio_end
        yield WordsHeard(turn.item_id, turn.heard, "", final=True, seconds=seconds)
        if self.create_response and self.hearing.detection and turn.heard:
            self._owed = True

    def _text_said(self, event: TextSaid) -> Iterator[Command]:
        if event.item_id is not None and self._taken(event.item_id):
            message = f"there is an item {event.item_id} already; choose another id"
            yield Trouble("item_id_taken", message, param="item.id")
            return
        turn = self._new_turn(event.item_id)
        self.conversation.add(turn)
        turn.heard = event.text.strip()
        yield TextAccepted(turn.item_id, self._last_item, turn.heard)
        self._last_item = turn.item_id

    # ---- the agent's half ----------------------------------------------------------

    def _respond_now(self) -> Iterator[Command]:
        if self.speaking is not None:
            yield Trouble(
                "conversation_already_has_active_response",
                f"{self.speaking.response_id} is still being spoken; "
                "wait for response.done or send response.cancel",
            )
        else:
            self._owed = self._asked = True

    def _answer_what_is_owed(self, now: float) -> Iterator[Command]:
        """Answer once all words are known, nobody speaks and no other reply runs."""
        speaks = self.hearing.open is not None and self.hearing.detection
        if not self._owed or speaks or self.hearing.closed or self.speaking is not None:
            return
        asked, self._owed, self._asked = self._asked, False, False
        if not self.conversation.messages()[1:]:
            if asked:
                yield NOTHING_TO_ANSWER
            return
        turn = self.conversation.unanswered()
        if turn is None:
            if not asked:
                return
            turn = self._new_turn()
            self.conversation.add(turn)
        turn.timings.mark(Stage.TRANSCRIPT, now)
        yield from self._respond(turn)

    def _respond(self, turn: Turn) -> Iterator[Command]:
        self.generation += 1
        turn.reply = Reply(self._new_id("item"))
        response_id = self._new_id("resp")
        lead = self.settings.playback.lead
        messages = self.conversation.messages()
        self.speaking = Speaking(self.generation, response_id, turn, turn.reply, lead)
        yield ReplyStarted(response_id, turn.reply.item_id, self._last_item)
        self._last_item = turn.reply.item_id
        yield Respond(self.generation, messages)

    def _reply_piece(
        self, event: PromptReady | Denoised | TextReady | ReplyComplete, now: float
    ) -> Iterator[Command]:
        speaking = self.speaking
        if speaking is None or event.generation != speaking.generation:
            return
        match event:
            case PromptReady():
                speaking.turn.timings.mark(Stage.PROMPT, now)
            case Denoised():
                yield CanvasShown(speaking.response_id, event.step)
            case TextReady() if len(speaking.reply.text) + len(event.text) > MAX_REPLY:
                failed = StageFailed("responder", TOO_LONG, generation=event.generation)
                yield from self._failed(failed, now)
            case TextReady():
                yield from speaking.text(event.text, now)
            case ReplyComplete():
                yield from speaking.complete(event.done, now)

    def _sound(self, event: SoundReady | SegmentSpoken, now: float) -> Iterator[Command]:
        speaking = self.speaking
        if speaking is None or event.generation != speaking.generation:
            return
        if isinstance(event, SoundReady):
            yield from speaking.sound(event, now)
        else:
            speaking.segment_spoken(event)

    def _stop(
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

    def _cancel(self, event: CancelReply, now: float) -> Iterator[Command]:
        running = self.speaking.response_id if self.speaking else None
        if running is None or event.response_id not in (None, running):
            what = event.response_id or "no reply"
            yield Trouble("response_cancel_not_active", f"{what} is not running")
        else:
            yield from self._stop(now, "client_cancelled")

    def _truncate(self, event: Truncate) -> Iterator[Command]:
        for speaking in (self.speaking, self.finished):
            if speaking is not None and speaking.reply.item_id == event.item_id:
                speaking.truncate(event.played)
                yield ItemTruncated(event.item_id, event.played)
                return
        if self.conversation.reply_of(event.item_id) is None:
            yield Trouble("item_not_found", f"no reply has the id {event.item_id}")
        else:
            yield Trouble("item_too_old", "only the newest reply can still be truncated")

    # ---- everything else -----------------------------------------------------------

    def _configure(self, event: Configure) -> Iterator[Command]:
        if event.instructions is not None:
            self.conversation.instructions = event.instructions
        if event.create_response is not None:
            self.create_response = event.create_response
        if event.interrupt_response is not None:
            self.interrupt_response = event.interrupt_response
        yield from self.hearing.configure(event)
        yield Configured(event)
        if event.instructions is not None:
            yield Prepare(self.conversation.messages())

    def _failed(self, event: StageFailed, now: float) -> Iterator[Command]:
        yield Trouble(f"{event.stage}_failed", event.message, kind="server_error")
        if event.stage == "asr":
            turn = self.hearing.closed.get(event.turn)
            if turn is not None:
                nothing = Transcript("", 0, final=True)
                yield from self._final_heard(FinalHeard(turn.id, turn.revision, nothing), now)
            return
        if self.speaking is not None and self.speaking.generation == event.generation:
            yield from self._stop(now, event.message, "failed")

    def _settle(self, now: float) -> Iterator[Command]:
        """What time alone brings about."""
        starved = self.hearing.starved_at
        if starved is not None and now >= starved:
            yield from self._end_turn(now)
        if self.speaking is not None:
            yield from self.speaking.pump(now)
            if self.speaking.over(now):
                yield self.speaking.finish()
                self.finished, self.speaking = self.speaking, None
        yield from self._answer_what_is_owed(now)
        if now - self.started_at >= self.settings.server.max_call_seconds:
            yield HangUp(NORMAL_CLOSURE, "the call reached its maximum length")

    def _next_wake(self, now: float) -> float | None:
        times = [self.hearing.starved_at, self.started_at + self.settings.server.max_call_seconds]
        if self.speaking is not None:
            times.append(self.speaking.playback.next_due(now))
        return min((time for time in times if time is not None), default=None)

    def _new_id(self, kind: str) -> str:
        while True:
            self._ids += 1
            new = f"{kind}_{self._ids:06d}"
            if not self._taken(new):
                return new

    def _taken(self, item_id: str) -> bool:
        open_turn = self.hearing.open.turn.item_id if self.hearing.open else None
        return item_id == open_turn or self.conversation.has(item_id)
