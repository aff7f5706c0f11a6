"""The whole agent without I/O: ``Session.handle(input, now)`` returns commands.

It reads no clock, waits for nothing and knows no engine. The caller's half is in
``hearing``, the agent's in ``answering``; what one half does to the other is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import assert_never

from agent.config.settings import Settings
from agent.session.barge_in import Floor
from agent.session.commands import Command, Forget, Prepare, WakeAt
from agent.session.conversation import Conversation, Turn
from agent.session.events import (
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
    PauseJudged,
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
from agent.session.ids import Ids
from agent.session.lifecycle import Manners
from agent.session.notices import (
    Configured,
    Remark,
    TextAccepted,
    Trouble,
    TurnTimed,
    WordsHeard,
)
from agent.session.pending_reply import Owed
from agent.session.replies import Answering
from agent.session.user_turn import Hearing
from agent.timing import Stage
from agent.turn_taking.detector import TurnEvent
from asr.transcript import Transcript

MAX_UNHEARD = 4
"""Finished turns of one call that may wait for the recogniser, which all calls share."""


@dataclass(slots=True)
class Session:
    """One call."""

    settings: Settings
    started_at: float
    conversation: Conversation = field(init=False)
    hearing: Hearing = field(init=False)
    answering: Answering = field(init=False)
    floor: Floor = field(init=False)
    manners: Manners = field(init=False)
    owed: Owed = field(init=False)
    ids: Ids = field(init=False)
    create_response: bool = True
    interrupt_response: bool = True

    def __post_init__(self) -> None:
        settings = self.settings
        responder = settings.responder
        self.conversation = Conversation(responder.instructions, responder.history_characters)
        self.hearing = Hearing(settings.turns, settings.asr.language)
        self.ids = Ids(self.conversation, self.hearing)
        lead, budget = settings.playback.lead, settings.budget.total
        self.answering = Answering(
            self.conversation, lead, budget, self.ids.new, lexicon=settings.tts.words
        )
        self.owed = Owed(self.conversation, self.hearing, self.answering, self.ids)
        self.floor = Floor(settings.turns, self.hearing, self.answering)
        ends_at = self.started_at + settings.server.max_call_seconds
        self.manners = Manners(settings.call, self.answering, ends_at)

    def handle(self, event: Input, now: float) -> list[Command]:
        """Take one input at monotonic second ``now``; returns what is to be done, in order."""
        commands = [*self._dispatch(event, now), *self._settle(now)]
        commands += [remark for command in commands for remark in self._overruns(command)]
        wake = self._next_wake(now)
        return commands if wake is None else [*commands, WakeAt(wake)]

    def _dispatch(self, event: Input, now: float) -> Iterator[Command]:
        match event:
            case Heard():
                return self._heard(event, now)
            case CommitAudio():
                return self._commit(now)
            case ClearAudio():
                return self._clear(now)
            case TextSaid():
                return self._text_said(event)
            case RespondNow():
                return self.owed.ask()
            case CancelReply():
                return self.answering.cancel(event, now)
            case Truncate():
                return self.answering.truncate(event)
            case Configure():
                return self._configure(event, now)
            case PartialHeard():
                return self._partial(event, now)
            case FinalHeard():
                return self._final(event, now)
            case PauseJudged():
                return self._pause_judged(event, now)
            case (
                PromptReady() | Denoised() | TextReady() | ReplyComplete()
                | SoundReady() | SegmentSpoken()
            ):  # fmt: skip
                return self.answering.take(event, now)
            case StageFailed():
                return self._failed(event, now)
            case CallStarted():
                return self._started(now)
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
        if change is TurnEvent.PAUSED:
            yield from self.hearing.pause()
        if change is TurnEvent.RESUMED:
            yield from self._discard_draft(now)
            yield from self.hearing.resume(now)
        if change is TurnEvent.ENDED:
            yield from self._end_turn(now)
        yield from self.hearing.revise(now)
        yield from self.floor.judge(now)

    def _turn_began(self, now: float) -> Iterator[Command]:
        interrupt = self.interrupt_response and self.hearing.detection
        yield from self.floor.begin(self.ids.turn(), now, may_interrupt=interrupt)
        if self.floor.overlap is None:
            # While the caller speaks there is time to cache what the last turn left behind.
            yield Prepare(self.conversation.messages())

    def _partial(self, event: PartialHeard, now: float) -> Iterator[Command]:
        before = self._stable_words
        yield from self.hearing.partial(event.turn, event.transcript)
        if event.transcript.text:
            # No words yet says nothing: there was little sound to find some in.
            yield from self.floor.understood(event.turn, event.transcript.text, now)
        if self._stable_words != before and self.answering.idle:
            yield Prepare(self.conversation.messages(self._stable_words))

    @property
    def _stable_words(self) -> str:
        return "" if self.hearing.open is None else self.hearing.open.shown

    def _final(self, event: FinalHeard, now: float) -> Iterator[Command]:
        if self.hearing.revised(event.turn, event.revision, event.transcript, now):
            words = event.transcript.text.strip()
            yield from self.floor.understood(event.turn, words, now)
            yield from self._revised(words, now)
        elif turn := self.hearing.final(event.turn, event.revision, now):
            yield from self._words_known(turn, event.transcript, now)

    def _revised(self, words: str, now: float) -> Iterator[Command]:
        """The words up to a pause that may be the end: answer them ahead, if they ask for it."""
        free = self.answering.idle and not self.hearing.closed
        wanted = words and self.create_response and self.hearing.detection
        if free and wanted and not self.hearing.patience.expects_more(words):
            yield from self.answering.think_ahead(words, self.hearing.speech_end_at, now)
        yield from self._expire(now)

    def _pause_judged(self, event: PauseJudged, now: float) -> Iterator[Command]:
        self.hearing.judged(event)
        yield from self._expire(now)

    def _expire(self, now: float) -> Iterator[Command]:
        """What became known may make a pause long enough that has lasted already."""
        if self.hearing.detector.expire(self.hearing.position) is TurnEvent.ENDED:
            yield from self._end_turn(now)

    def _end_turn(self, now: float) -> Iterator[Command]:
        """Close the open turn; from now on it has its place in the conversation."""
        opened = self.hearing.open
        if opened is None:
            return
        if len(self.hearing.closed) >= MAX_UNHEARD:
            message = f"{MAX_UNHEARD} turns wait for their words already; this one is dropped"
            yield Trouble("too_many_turns", message)
            yield from self._clear(now)
            return
        if self.floor.overlap is not None and (opened.words is not None or self.floor.kept):
            yield from self.floor.keep("" if opened.words is None else opened.words.text)
            return
        yield from self.floor.give(now)
        yield from self.hearing.close(now)
        self.conversation.add(opened.turn)
        place = self.conversation.follow(opened.turn.item_id)
        yield from self.hearing.told(opened.turn, place)
        if opened.words is not None:
            final = FinalHeard(opened.turn.id, opened.turn.revision, opened.words)
            yield from self._final(final, now)

    def _commit(self, now: float) -> Iterator[Command]:
        if self.hearing.open is None:
            yield Trouble(
                "input_audio_buffer_commit_empty",
                "nothing was heard since the last commit; append audio first",
            )
            return
        yield from self.floor.give(now)
        yield from self._end_turn(now)

    def _words_known(self, turn: Turn, words: Transcript, now: float) -> Iterator[Command]:
        """All words of a finished turn are there."""
        yield Forget(turn.id)
        text = turn.heard = words.text.strip()
        turn.timings.mark(Stage.TRANSCRIPT, now)
        yield WordsHeard(turn.item_id, text, "", final=True, seconds=words.audio_end)
        if text:
            self.manners.caller_spoke()
        if self.floor.taken_for_nothing(turn):
            yield from self._take_back(now)
        elif text and self.create_response and self.hearing.detection:
            self.owed.waits = True

    def _take_back(self, now: float) -> Iterator[Command]:
        """The agent fell silent for nothing: it goes on, or begins to answer again."""
        if self.floor.reopen():
            self.owed.again()
        elif not self.owed.waits:
            yield from self.floor.take_back(now)

    def _clear(self, now: float) -> Iterator[Command]:
        taken = self.hearing.open is not None and self.floor.taken_by(self.hearing.open.turn)
        yield from self.hearing.clear()
        if taken:
            yield from self._take_back(now)

    def _text_said(self, event: TextSaid) -> Iterator[Command]:
        if event.item_id is not None and self.ids.taken(event.item_id):
            message = f"there is an item {event.item_id} already; choose another id"
            yield Trouble("item_id_taken", message, param="item.id")
            return
        turn = self.ids.turn(event.item_id)
        self.conversation.add(turn)
        self.manners.caller_spoke()
        turn.heard = event.text.strip()
        yield TextAccepted(turn.item_id, self.conversation.follow(turn.item_id), turn.heard)

    # ---- the agent's half ----------------------------------------------------------

    def _started(self, now: float) -> Iterator[Command]:
        yield Prepare(self.conversation.messages())
        yield from self.manners.greet(now)

    def _discard_draft(self, now: float) -> Iterator[Command]:
        turn = None if self.hearing.open is None else self.hearing.open.turn
        yield from self.answering.discard(turn, now)

    # ---- everything else -----------------------------------------------------------

    def _configure(self, event: Configure, now: float) -> Iterator[Command]:
        if event.instructions is not None:
            self.conversation.instructions = event.instructions
        if event.create_response is not None:
            self.create_response = event.create_response
        if event.interrupt_response is not None:
            self.interrupt_response = event.interrupt_response
        if event.idle_after is not None:
            self.manners.idle_after = event.idle_after
        opened = self.hearing.open
        yield from self.hearing.configure(event)
        yield Configured(event)
        if opened is not None and self.hearing.open is None and self.floor.taken_by(opened.turn):
            yield from self._take_back(now)
        if event.instructions is not None:
            yield Prepare(self.conversation.messages())

    def _failed(self, event: StageFailed, now: float) -> Iterator[Command]:
        if event.stage != "asr":
            yield from self.answering.failed(event, now)
            return
        yield Trouble("asr_failed", event.message, kind="server_error")
        nothing = Transcript("", 0, final=True)
        yield from self._final(FinalHeard(event.turn, event.revision, nothing), now)

    def _settle(self, now: float) -> Iterator[Command]:
        """What time alone brings about."""
        starved = self.hearing.starved_at
        if starved is not None and now >= starved:
            yield from self._end_turn(now)
        yield from self.answering.pump(now)
        yield from self.floor.settle()
        yield from self.owed.settle(now)
        if self.hearing.open is None and not self.owed.waits:
            yield from self._discard_draft(now)
        yield from self._mind_manners(now)

    def _mind_manners(self, now: float) -> Iterator[Command]:
        yield from self.manners.act(now)
        self.floor.kept = leaving = self.manners.leaving
        busy = self.answering.speaking is not None or self.owed.waits
        heard = self.hearing.open is not None or bool(self.hearing.closed)
        self.manners.observe(now, quiet=not busy and (leaving or not heard))

    def _overruns(self, command: Command) -> Iterator[Command]:
        if isinstance(command, TurnTimed):
            for name, seconds in self.settings.budget.latency.overruns(command.spans).items():
                message = f"{name} took {seconds * 1000:.0f} ms more than the budget allows"
                yield Remark("budget_overrun", message)

    def _next_wake(self, now: float) -> float | None:
        times = [self.hearing.starved_at, self.answering.next_due(now)]
        return min((self.manners.wakes_at, *(time for time in times if time is not None)))
