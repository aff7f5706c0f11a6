"""One turn of a call, measured from the recording."""

from __future__ import annotations

from dataclasses import dataclass

from agent.latency import measure
from agent.latency.measure import Utterance
from agent.latency.question import Question
from agent.latency.results import TurnResult, spans_at_the_ear
from agent.latency.turn_log import TurnLog


@dataclass(slots=True)
class Turn:
    """A question, where it lies in the recording, and what came of it."""

    number: int
    question: Question
    said: Utterance
    log: TurnLog
    late: float = 0.0
    """Seconds after which the question was due."""
    cut_in: Utterance | None = None
    """What the caller said into the reply."""
    error: str | None = None
    timed_out: bool = False
    """Nobody answered; as against a reply that failed, or that could not be heard."""

    def result(self, now: float) -> TurnResult:
        """Measure, ``now`` seconds after the call began."""
        log, line, said = self.log, self.log.line, self.said
        early = measure.speaks_at(line, said.ends)
        audible = None if early else measure.audible_from(line, said.ends)
        voice_to_voice = leading = waited = None
        if audible is not None:
            voice_to_voice = self._ms(audible - said.ends)
            leading = measure.leading_silence(line, said, audible)
        elif self.timed_out and not early:
            waited = round((now - said.ends / line.rate) * 1000, 3)
        interrupt, recovery = self._interruption()
        answered, check = self._answered(), self.question.check
        return TurnResult(
            turn=self.number,
            file=self.question.name,
            heard=" ".join(log.heard).strip(),
            answered=answered,
            voice_to_voice_ms=voice_to_voice,
            spans=self._spans(voice_to_voice),
            reply_seconds=round(log.reply_audio, 3),
            stats=dict(log.stats),
            error=self._error(early, audible is not None),
            late_ms=round(self.late * 1000, 3),
            waited_ms=waited,
            leading_silence_ms=None if leading is None else round(leading * 1000, 3),
            gaps_ms=[round(gap * 1000, 3) for gap in log.gaps],
            talked_over_ms=round(measure.talked_over(line, said) * 1000, 3),
            interrupt_ms=interrupt,
            recovery_ms=recovery,
            frame_late_ms=round(log.frame_late * 1000, 3),
            expected=self.question.text,
            check=check.passes(answered) if check and log.answers else None,
            began_s=round(said.begins / line.rate, 6),
        )

    def _ms(self, samples: int) -> float:
        return round(samples / self.log.line.rate * 1000, 3)

    def _error(self, early: bool, audible: bool) -> str | None:
        if early:
            return "the agent spoke before the question was over"
        return self.error if audible else self.error or "the reply was not audible"

    def _answered(self) -> str:
        """The reply to the question, not the one to an interruption."""
        answers = self.log.answers
        if not answers:
            return ""
        return answers[-1] if self.cut_in is None else answers[0]

    def _interruption(self) -> tuple[float | None, float | None]:
        """Milliseconds until the agent was silent, and until it answered again."""
        if self.cut_in is None:
            return None, None
        line = self.log.line
        silent = measure.silent_from(line, self.cut_in.onset)
        again = measure.audible_from(line, max(silent, self.cut_in.ends))
        recovery = None if again is None else self._ms(again - self.cut_in.ends)
        return self._ms(silent - self.cut_in.onset), recovery

    def _spans(self, voice_to_voice: float | None) -> dict[str, float]:
        rate = self.log.line.rate
        told = [spans for at, spans in self.log.spans if at * rate >= self.said.ends]
        if voice_to_voice is None or not told:
            return {}
        ends = self.said.ends / rate * 1000
        return spans_at_the_ear(told[0].spans_ms, told[0].speech_end_ms, ends, voice_to_voice)
