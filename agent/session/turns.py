"""The caller's turns: when they begin and end, and what follows from their words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.session.barge_in import ANEW, BargeIn
from agent.session.commands import Command, DropTurnAudio
from agent.session.conversation import Conversation, Turn
from agent.session.decisions import Decisions
from agent.session.events import AudioFrame, FinalTranscript, PartialTranscript, PauseJudged
from agent.session.ids import Ids
from agent.session.lifecycle import Lifecycle
from agent.session.notices import TranscriptFailed, TranscriptUpdated, Trouble
from agent.session.pending_reply import PendingReply
from agent.session.replies import Replies
from agent.session.tool_calls import ToolCalls
from agent.session.user_turn import UserTurn
from agent.timing import Stage
from agent.turn_taking.addressee import Addressee
from agent.turn_taking.backchannel import is_stray_sound
from agent.turn_taking.completeness import LANGUAGE
from agent.turn_taking.detector import TurnEvent
from agent.turn_taking.floor import FloorRequest, silences
from agent.turn_taking.floor_languages import floor_request_in
from asr.transcript import Transcript

_ANSWERED = (FloorRequest.NONE, FloorRequest.ATTENTION)
MAX_UNTRANSCRIBED = 4
"""Finished turns of one call that may wait for their transcript; all calls share a recogniser."""


@dataclass(slots=True)
class Turns:
    """Passes the caller's turns on to the sides of the conversation that they concern.

    Attributes:
        addressee: tells turns that are meant for others.
        create_response: whether the end of a turn starts a reply.
        interrupt_response: whether the caller's speech may interrupt a reply.
        transcription_only: whether the caller is written down and never answered.
    """

    conversation: Conversation
    user_turn: UserTurn
    replies: Replies
    barge_in: BargeIn
    lifecycle: Lifecycle
    pending_reply: PendingReply
    tool_calls: ToolCalls
    decisions: Decisions
    ids: Ids
    addressee: Addressee = field(default_factory=Addressee)
    create_response: bool = True
    interrupt_response: bool = True
    transcription_only: bool = False
    _holds: bool = False
    """Whether a reply's first sound was told to wait for what a sound becomes."""

    def take_frame(self, event: AudioFrame, now: float) -> Iterator[Command]:
        """Take the next sound of the caller."""
        change = self.user_turn.take_frame(event)
        onset = self.user_turn.onset_left if self.interrupt_response else 0.0
        if onset or self._holds:
            self._holds = onset > 0
            self.replies.hold_first_sound(now + onset)
        if change is TurnEvent.BEGAN:
            yield from self._turn_began(now)
        yield from self.user_turn.feed()
        if change is TurnEvent.PAUSED:
            yield from self.user_turn.ask_turn_model()
        if change is TurnEvent.RESUMED:
            yield from self.discard_draft(now)
            yield from self.user_turn.resume(now)
            self.barge_in.resumed()
        if change is TurnEvent.ENDED:
            yield from self.end(now)
        yield from self.user_turn.request_transcript(now)
        yield from self.barge_in.judge(now)

    def _turn_began(self, now: float) -> Iterator[Command]:
        interrupt = self.interrupt_response and self.user_turn.detection
        turn = self.ids.turn()
        said = self._said_last
        turn.after_question = said.endswith("?")
        turn.after_statement = bool(said) and not turn.after_question
        yield from self.barge_in.begin(turn, now, may_interrupt=interrupt)
        if self.barge_in.overlap is None:
            # The caller's speech leaves time to read the last turn into the cache.
            yield self.replies.prepare()

    @property
    def _said_last(self) -> str:
        """The agent's last words; empty before there are any."""
        reply = self.replies.current or self.replies.played.finished
        return "" if reply is None else reply.entry.text.rstrip()

    def take_partial(self, event: PartialTranscript, now: float) -> Iterator[Command]:
        """Take the words of the open turn so far."""
        before = self._stable_words
        yield from self.user_turn.take_partial(event.turn, event.transcript)
        if event.transcript.text:
            # An empty hypothesis is no evidence: there was too little sound for words.
            text = event.transcript.text
            yield from self.barge_in.transcribed(event.turn, text, now, glance=event.glance)
        if self._stable_words != before and self.replies.idle:
            yield self.replies.prepare(self._stable_words)

    @property
    def _stable_words(self) -> str:
        return "" if self.user_turn.open is None else self.user_turn.open.shown

    def take_final(self, event: FinalTranscript, now: float) -> Iterator[Command]:
        """Take the transcript up to a pause of the open turn, or of a turn that is over."""
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
        if self.user_turn.open and self.barge_in.is_empty(self.user_turn.open.turn, words):
            self.user_turn.end_within(ANEW)  # the reply that it cut goes on
        if words and self.user_turn.open is not None:
            yield from self.decisions.pause(self.user_turn.open.turn, words)
        yield from self.expire(now)

    def _needs_reply(self, words: str) -> bool:
        """Whether the words up to a pause of the open turn may be answered as they are."""
        opened = self.user_turn.open
        if opened is None or self.barge_in.is_wordless(opened.turn, words):
            return False
        expects_more = self.user_turn.endpointing.expects_more(words)
        if self._is_stray(opened.turn, words, self.user_turn.voiced):
            return False
        return not expects_more and self._wish_of(opened.turn, words) in _ANSWERED

    def _is_stray(self, turn: Turn, words: str, voiced: float) -> bool:
        """Whether a turn is a hum in the silence after a statement of the agent's.

        Over the agent such a sound may be a "stop" that was misheard.
        """
        alone = turn.after_statement and not self.barge_in.caused_by(turn)
        return alone and is_stray_sound(words, voiced)

    def _wish_of(self, turn: Turn, words: str) -> FloorRequest:
        """The wish about the floor of a turn with these words.

        Words such as "no, no" that cut a statement of the agent's are "stop".
        """
        language = self.user_turn.language
        objects = turn.after_statement and self.barge_in.caused_by(turn)
        if language == LANGUAGE and objects and silences(words):
            return FloorRequest.STOP
        return floor_request_in(words, language)

    def pause_judged(self, event: PauseJudged, now: float) -> Iterator[Command]:
        """Take the judgement of the turn model about a pause."""
        self.user_turn.pause_judged(event)
        yield from self.expire(now)

    def expire(self, now: float) -> Iterator[Command]:
        """End the turn if its pause has already lasted longer than the new delay."""
        if self.user_turn.detector.expire(self.user_turn.position) is TurnEvent.ENDED:
            yield from self.end(now)

    def end(self, now: float) -> Iterator[Command]:
        """Close the open turn and add it to the conversation."""
        opened = self.user_turn.open
        if opened is None:
            return
        if len(self.user_turn.closed) >= MAX_UNTRANSCRIBED:
            message = f"{MAX_UNTRANSCRIBED} turns wait for their words already; this one is dropped"
            yield Trouble("too_many_turns", message)
            yield from self.clear(now)
            return
        if opened.words is not None:
            yield from self.barge_in.let_both_speak()
        known = opened.words is not None or self.barge_in.is_sign or self.barge_in.uninterruptible
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
            yield from self.take_final(final, now)

    def commit(self, now: float) -> Iterator[Command]:
        """End the open turn because the client says so."""
        if self.user_turn.open is None:
            yield Trouble(
                "input_audio_buffer_commit_empty",
                "no audio since the last commit; append audio first",
            )
            return
        yield from self.barge_in.interrupt(now)
        yield from self.end(now)

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
            yield from self.resume_reply(now)
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
        others = self.user_turn.endpointing.to_others(turn.transcript, None)
        others = max(turn.to_others, others)  # its words may be known only now
        match self._wish_of(turn, turn.transcript):
            case FloorRequest.STOP:
                self.conversation.withdraw()
                self.tool_calls.supersede()
                self.pending_reply.withdraw()
            case FloorRequest.WAIT:
                self.pending_reply.wanted = False
            case FloorRequest.ATTENTION if waits:
                self.pending_reply.wanted = True
            case _ if not self.addressee.is_agent(turn.transcript, others):
                pass  # a reply that is due is still due
            case _ if self._is_stray(turn, turn.transcript, turn.voiced):
                pass
            case _:
                turn.aside = False
                self.pending_reply.wanted = True

    @property
    def _answers(self) -> bool:
        """Whether the end of a turn starts a reply."""
        by_itself = self.create_response and self.user_turn.detection
        return by_itself and not self.transcription_only and not self.decisions.closing

    def resume_reply(self, now: float) -> Iterator[Command]:
        """Go on after a false barge-in: with the rest of the reply, or with a new reply."""
        if self.barge_in.reopen_question():
            self.pending_reply.ask_again()
        elif not self.pending_reply.wanted:
            yield from self.barge_in.resume_reply(now)

    def clear(self, now: float) -> Iterator[Command]:
        """Drop the open turn; a reply that it cut goes on."""
        interrupted = self.user_turn.open is not None and self.barge_in.caused_by(
            self.user_turn.open.turn
        )
        yield from self.user_turn.clear()
        if interrupted:
            yield from self.resume_reply(now)

    def discard_draft(self, now: float) -> Iterator[Command]:
        """Drop the draft of a reply: the turn did not end with its words."""
        turn = None if self.user_turn.open is None else self.user_turn.open.turn
        yield from self.replies.discard(turn, now)
