"""Barge-in: the caller's speech over the agent's interrupts the reply, or is dismissed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from agent.config.settings import TurnSettings
from agent.session.commands import Command, Prepare
from agent.session.conversation import Turn
from agent.session.notices import Duck, Remark, Unduck
from agent.session.overlap import CONTENT, Judgement, Overlap, WordKind, classify
from agent.session.replies import Replies
from agent.session.reply_in_flight import ReplyInFlight
from agent.session.user_turn import UserTurn
from agent.turn_taking.completeness import TurnVerdict, completeness
from agent.turn_taking.own_words import is_own

LONGEST_ECHO = 0.8
"""Seconds from a word at the server's clock to its echo in the transcript's sound: the way there
and back, the client's buffers, the room; and some of the word before."""
ANEW = 0.3
"""Seconds of silence after which the length of overlapping speech is counted anew, and which end
a sign of listening."""
REACTION = 0.6
"""Seconds of a reply within which nobody answers it: who speaks by then was going on."""
SIGNS = (WordKind.NO_WORDS, WordKind.BACKCHANNEL)
"""Kinds of words that nothing belongs to."""
NOTHING_ASKED = (WordKind.NO_WORDS, WordKind.BACKCHANNEL, WordKind.ASIDE, WordKind.OWN)
"""Kinds of words that are no reason to stop a reply."""


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
    _said_over: tuple[int, str] = (0, "")
    """Id of the last overlapping turn, and what the agent said while it was spoken."""

    def begin(self, turn: Turn, now: float, *, may_interrupt: bool) -> Iterator[Command]:
        """Open the caller's turn; over a reply, duck it and judge, or interrupt it at once."""
        reply = self.replies.current
        if reply is None or not may_interrupt:
            yield from self.user_turn.begin(turn)
        elif self.settings.backchannels or self.uninterruptible:
            self.overlap = self._overlap(turn, reply)
            reply.paused = True
            yield Duck(reply.response_id, self.settings.duck_db)
            yield from self.user_turn.begin(turn, announced=False)
        else:
            self._caused_by = turn.id
            yield from self.replies.stop(now, "turn_detected", keep=True)
            yield from self.user_turn.begin(turn)

    def _overlap(self, turn: Turn, reply: ReplyInFlight) -> Overlap:
        detector, language = self.user_turn.detector, self.user_turn.language
        asked = "" if reply.turn is None else reply.turn.transcript
        whole = completeness(asked, language=language).verdict is TurnVerdict.COMPLETE
        position = self.user_turn.position
        unheard = reply.turn is not None and reply.playback.sent == 0
        unsettled = self.replies.sounded < self.settings.echo_settling
        overlap = Overlap(turn.id, detector.began, position, language, unheard, whole)
        overlap.unsettled = unsettled
        return overlap

    def transcribed(
        self, turn: int, words: str, now: float, *, final: bool = False, glance: bool = False
    ) -> Iterator[Command]:
        """Take the transcript of the overlapping speech so far, or a glance at it."""
        if self.overlap is not None and self.overlap.turn == turn:
            if glance:
                self.overlap.glimpse(words, self.user_turn.position)
            else:
                self.overlap.hear(words, final=final, seconds=self.user_turn.voiced)
            self._note_own_words(self.overlap, now)
            yield from self.judge(now)

    def _note_own_words(self, overlap: Overlap, now: float) -> None:
        """Note what the agent has said since the overlapping speech began."""
        reply = self.replies.current
        if reply is None or not self.settings.echo:
            return
        since = self.user_turn.position - overlap.began + LONGEST_ECHO
        overlap.own = reply.spoken_lately(since, now)
        self._said_over = (overlap.turn, overlap.own)

    def echoes(self, turn: Turn) -> bool:
        """Whether the words of ``turn`` are the agent's own, said while it began."""
        over, own = self._said_over
        return over == turn.id and is_own(turn.transcript, own)

    def resumed(self) -> None:
        """Take the end of a pause: the words up to it are no longer all of them."""
        if self.overlap is not None:
            self.overlap.final = self.overlap.hummed = False
            detector = self.user_turn.detector
            if detector.last_pause >= ANEW:
                # The length of a second sound is its own; two coughs are no long voice.
                self.overlap.began, self.overlap.noticed = detector.set_in, self.user_turn.position

    def judge(self, now: float) -> Iterator[Command]:
        """Judge the overlapping speech; interrupt the reply or let it go on."""
        overlap = self.overlap
        if overlap is None or self.user_turn.open is None:
            return
        # What is said after a sign of listening stands by itself.
        self.user_turn.end_within(ANEW if overlap.kind in SIGNS else math.inf)
        judgement = self._judgement(overlap)
        if overlap.unheard and overlap.kind in CONTENT:
            # The reply stays held back, and the client sees who speaks.
            yield from self.user_turn.announce()
        if judgement is Judgement.INTERRUPTION and not self.uninterruptible:
            yield from self.interrupt(now)
        elif judgement is Judgement.NOTHING and not overlap.dismissed:
            overlap.dismissed = True
            yield from self._unduck()

    def _judgement(self, overlap: Overlap) -> Judgement:
        speech_end = self.user_turn.detector.speech_end
        reply = self.replies.current
        heard = reply is not None and reply.playback.sent > 0
        within = self.settings.decide_within
        return overlap.judge(self.user_turn.position, speech_end, within, heard=heard)

    def let_both_speak(self) -> Iterator[Command]:
        """End the overlap where the caller's turn stands beside the reply, which is spoken.

        That is a second question, which is answered after the first, and a turn that the client
        was told of before its words proved to be none. Otherwise nothing is done.
        """
        opened = self.user_turn.open
        if self.overlap is None or opened is None or self.uninterruptible:
            return
        further = self._judgement(self.overlap) is Judgement.FURTHER_QUESTION
        if further or (opened.turn.announced and self.asks_for_nothing):
            self.overlap = None
            yield from self.user_turn.announce()
            yield from self._unduck()

    @property
    def is_sign(self) -> bool:
        """Whether the overlapping words, known or glanced at, are a sign of listening or none."""
        return self.overlap is not None and self.overlap.kind in SIGNS

    @property
    def asks_for_nothing(self) -> bool:
        """Whether the overlapping words are no reason to stop the reply."""
        if self.overlap is None:
            return False
        kind = self.overlap.kind
        calls = kind is WordKind.ATTENTION and self.overlap.unheard
        return self.uninterruptible or calls or kind in NOTHING_ASKED

    def interrupt(self, now: float) -> Iterator[Command]:
        """Cut the reply for the overlapping speech, if any, and announce the caller's turn.

        An uninterruptible reply goes on.
        """
        if self.overlap is None or self.uninterruptible:
            return
        wordless = self.overlap.kind in (WordKind.UNKNOWN, WordKind.GUESS, *NOTHING_ASKED)
        if not wordless:
            self._learn_pause(self.overlap, now)
        self._caused_by, self.overlap = self.overlap.turn, None
        yield from self.replies.stop(now, "turn_detected", keep=wordless)
        yield from self.user_turn.announce()
        yield Prepare(self.replies.conversation.messages(), self.replies.settings.options)

    def _learn_pause(self, overlap: Overlap, now: float) -> None:
        """Learn from a reply that came too early, in a pause of the caller's."""
        reply = self.replies.current
        if reply is None or reply.turn is None or reply.turn.speech_end is None:
            return
        heard = reply.playback.heard(now) - (self.user_turn.position - overlap.began)
        if heard <= REACTION:
            pace = self.user_turn.endpointing.pace
            pace.was_cut_off_after(overlap.began - reply.turn.speech_end)

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
        elif self.replies.current is None and self.overlap.final and self._is_echo:
            yield from self.dismiss(self.overlap.words or "")
        elif self.replies.current is None:
            self.overlap = None
            yield from self.user_turn.announce()

    @property
    def _is_echo(self) -> bool:
        return self.overlap is not None and self.overlap.kind is WordKind.OWN

    def _unduck(self) -> Iterator[Command]:
        reply = self.replies.current
        if reply is not None:
            reply.paused = False
            yield Unduck(reply.response_id)

    def is_false_barge_in(self, turn: Turn) -> bool:
        """Whether ``turn`` cut a reply and asks for nothing else.

        It is noise, a backchannel, speech to others, or "hello?" before the reply was heard.
        """
        said = classify(turn.transcript, self.user_turn.language)
        finished = self.replies.played.finished
        unheard = finished is not None and finished.turn is not None and not finished.entry.heard
        nothing = (
            said in (WordKind.NO_WORDS, WordKind.ASIDE)
            or (said is WordKind.BACKCHANNEL and self.settings.backchannels)
            or (said is WordKind.ATTENTION and unheard)
        )
        return self.caused_by(turn) and nothing

    def is_empty(self, turn: Turn, words: str) -> bool:
        """Whether ``turn`` cut a reply and its ``words`` so far are no reason to.

        They are none, a backchannel, or words to others, over which the agent speaks anyway.
        """
        kind = classify(words, self.user_turn.language)
        if kind is WordKind.BACKCHANNEL and not self.settings.backchannels:
            return False
        return self.caused_by(turn) and kind in (*SIGNS, WordKind.ASIDE)

    def is_wordless(self, turn: Turn, words: str) -> bool:
        """Whether ``turn`` cut a reply and its ``words`` so far may be noise or a backchannel."""
        kinds = (*NOTHING_ASKED, WordKind.ATTENTION)
        return self.caused_by(turn) and classify(words, self.user_turn.language) in kinds

    def caused_by(self, turn: Turn) -> bool:
        """Whether ``turn`` cut the last interrupted reply."""
        return self._caused_by == turn.id

    def resume_reply(self, now: float) -> Iterator[Command]:
        """Speak the rest of the reply that was cut, unless the caller spoke again."""
        if (later := self.user_turn.untranscribed) is not None:
            self._caused_by = later.id
            return
        yield from self.replies.resume(now)

    def reopen_question(self) -> bool:
        """Reopen the question of the reply that was cut, if its text is not complete.

        A reply that is still being generated is not reopened: it goes on.

        Returns whether the question was reopened: its turn has no reply any more.
        """
        finished = self.replies.played.finished
        if finished is None or finished.turn is None or self.replies.kept.reply is not None:
            return False
        if finished.done is not None or finished.entry.calls:
            return False
        finished.turn.reply = None
        return True
