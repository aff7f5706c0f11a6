"""Barge-in: the caller's speech over the agent's interrupts the reply, or is dismissed."""

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
    """Decides on the caller's speech while a reply is played, and carries the decision out.

    Attributes:
        overlap: the overlapping speech that is being judged; None while there is none.
        uninterruptible: whether replies are protected from barge-in (while saying goodbye).
    """

    settings: TurnSettings
    user_turn: UserTurn
    replies: Replies
    overlap: Overlap | None = None
    uninterruptible: bool = False
    _caused_by: int = 0
    """Id of the turn that cut the last interrupted reply."""

    def begin(self, turn: Turn, now: float, *, may_interrupt: bool) -> Iterator[Command]:
        """Open the caller's turn; over a reply, duck it and judge, or interrupt it at once."""
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
        """Take the transcript of the overlapping speech so far."""
        if self.overlap is not None and self.overlap.turn == turn:
            self.overlap.words = words
            yield from self.judge(now)

    def judge(self, now: float) -> Iterator[Command]:
        """Judge the overlapping speech; interrupt the reply or let it go on."""
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
        """Cut the reply for the overlapping speech, if any, and announce the caller's turn.

        An uninterruptible reply goes on.
        """
        if self.overlap is None or self.uninterruptible:
            return
        self._caused_by, self.overlap = self.overlap.turn, None
        yield from self.replies.stop(now, "turn_detected")
        yield from self.user_turn.announce()
        yield Prepare(self.replies.conversation.messages(), self.replies.options)

    def dismiss(self, words: str) -> Iterator[Command]:
        """Drop the caller's turn: its words, ``words``, were no interruption."""
        yield from self.user_turn.drop()
        yield from self.settle()
        yield Remark("backchannel", f"not taken for a turn: {words!r}")

    def settle(self) -> Iterator[Command]:
        """End the overlap once only one side speaks: unduck the reply, or announce the turn."""
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

    def is_false_barge_in(self, turn: Turn) -> bool:
        """Whether ``turn`` cut a reply and contains only noise or a backchannel."""
        said = classify(turn.transcript)
        nothing = said is WordKind.NO_WORDS or (
            said is WordKind.BACKCHANNEL and self.settings.backchannels
        )
        return self.caused_by(turn) and nothing

    def caused_by(self, turn: Turn) -> bool:
        """Whether ``turn`` cut the last interrupted reply."""
        return self._caused_by == turn.id

    def resume_reply(self, now: float) -> Iterator[Command]:
        """Speak the rest of the reply that was cut, unless the caller spoke again."""
        if (later := self.user_turn.untranscribed) is not None:
            self._caused_by = later.id
            return
        finished = self.replies.finished
        if self.replies.current is None and finished is not None and finished.rest:
            yield from self.replies.say(finished.rest, now)

    def reopen_question(self) -> bool:
        """Reopen the question of the reply that was cut, if it was not heard or not complete.

        Returns whether the question was reopened: its turn has no reply any more.
        """
        finished = self.replies.finished
        if finished is None or finished.turn is None:
            return False
        if (finished.entry.heard and finished.done is not None) or finished.entry.calls:
            return False
        finished.turn.reply = None
        return True
