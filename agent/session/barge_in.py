"""Who has the floor when both speak: the caller takes it, or the agent goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.config.settings import TurnSettings
from agent.session.commands import Command, Prepare
from agent.session.conversation import Turn
from agent.session.notices import Duck, Remark, Unduck
from agent.session.overlap import Judgement, Overlap, WordKind, classify
from agent.session.replies import Replies
from agent.session.user_turn import UserTurn


@dataclass(slots=True)
class BargeIn:
    """Between the two halves of a call: what the caller's voice does to the agent's."""

    settings: TurnSettings
    user_turn: UserTurn
    replies: Replies
    overlap: Overlap | None = None
    """The caller speaks while the agent does, and it is not decided what that means."""
    uninterruptible: bool = False
    """Whether the agent may not be interrupted any more."""
    _caused_by: int = 0
    """The turn that the last reply was cut for."""

    def begin(self, turn: Turn, now: float, *, may_interrupt: bool) -> Iterator[Command]:
        """The caller begins to speak."""
        reply = self.replies.current
        if reply is None or not may_interrupt:
            yield from self.user_turn.begin(turn)
        elif self.settings.backchannels or self.uninterruptible:
            detector = self.user_turn.detector
            self.overlap = Overlap(turn.id, detector.began, self.user_turn.position)
            reply.paused = True
            yield Duck(reply.response_id, self.settings.duck_db)
            yield from self.user_turn.begin(turn, announced=False)
        else:
            self._caused_by = turn.id
            yield from self.replies.stop(now, "turn_detected")
            yield from self.user_turn.begin(turn)

    def transcribed(self, turn: int, words: str, now: float) -> Iterator[Command]:
        """Words of the caller, as far as they are known."""
        if self.overlap is not None and self.overlap.turn == turn:
            self.overlap.words = words
            yield from self.judge(now)

    def judge(self, now: float) -> Iterator[Command]:
        """Is the caller interrupting?"""
        overlap = self.overlap
        if overlap is None or self.user_turn.open is None:
            return
        speech_end = self.user_turn.detector.speech_end
        judgement = overlap.judge(self.user_turn.position, speech_end, self.settings.decide_within)
        if judgement is Judgement.INTERRUPTION and not self.uninterruptible:
            yield from self.interrupt(now)
        elif judgement is not Judgement.WAIT and not overlap.dismissed:
            overlap.dismissed = True
            yield from self._unduck()

    def interrupt(self, now: float) -> Iterator[Command]:
        """The caller has the floor."""
        if self.overlap is None or self.uninterruptible:
            return
        self._caused_by, self.overlap = self.overlap.turn, None
        yield from self.replies.stop(now, "turn_detected")
        yield from self.user_turn.announce()
        yield Prepare(self.replies.conversation.messages())

    def dismiss(self, words: str) -> Iterator[Command]:
        """What the caller said is over, and it was nothing."""
        yield from self.user_turn.drop()
        yield from self.settle()
        yield Remark("backchannel", f"not taken for a turn: {words!r}")

    def settle(self) -> Iterator[Command]:
        """Only one speaks now: the agent goes on, or what the caller says is a turn like any."""
        if self.overlap is None:
            return
        if self.user_turn.open is None:
            dismissed, self.overlap = self.overlap.dismissed, None
            if not dismissed:
                yield from self._unduck()
        elif self.replies.current is None:
            self.overlap = None
            yield from self.user_turn.announce()

    def _unduck(self) -> Iterator[Command]:
        reply = self.replies.current
        if reply is not None:
            reply.paused = False
            yield Unduck(reply.response_id)

    def is_false(self, turn: Turn) -> bool:
        """Whether the agent fell silent for a turn without any words of its own."""
        said = classify(turn.transcript)
        nothing = said is WordKind.NO_WORDS or (
            said is WordKind.BACKCHANNEL and self.settings.backchannels
        )
        return self.caused_by(turn) and nothing

    def caused_by(self, turn: Turn) -> bool:
        """Whether the last reply was cut for this turn."""
        return self._caused_by == turn.id

    def resume_reply(self, now: float) -> Iterator[Command]:
        """Say what was not heard of the reply that was cut, unless the caller spoke again."""
        if (later := self.user_turn.untranscribed) is not None:
            self._caused_by = later.id
            return
        finished = self.replies.finished
        if self.replies.current is None and finished is not None and finished.rest:
            yield from self.replies.say(finished.rest, now)

    def reopen_question(self) -> bool:
        """Whether nothing was heard of the reply that was cut: its question is open again."""
        finished = self.replies.finished
        if finished is None or finished.turn is None:
            return False
        if finished.entry.heard and finished.done is not None:
            return False
        finished.turn.reply = None
        return True
