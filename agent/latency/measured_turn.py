"""Measurement of one turn in the recording of its call."""

from __future__ import annotations

from dataclasses import dataclass

from agent.latency import measure
from agent.latency.measure import SpeechInterval
from agent.latency.question import SpokenQuestion
from agent.latency.results import TurnResult, spans_at_the_ear
from agent.latency.turn_log import TurnLog


@dataclass(slots=True)
class MeasuredTurn:
    """A turn of a test call, from the question to its measured result.

    Attributes:
        number: number of the turn.
        question: the question that was asked.
        said: position of the question in the recording.
        log: events and audio that arrived during the turn.
        late: seconds between the time at which the question was due and its start.
        interruption: position of the caller's interruption in the recording, if there was one.
        error: errors of the turn as text.
        timed_out: whether no reply came in time; False for a reply that failed or was silent.
    """

    number: int
    question: SpokenQuestion
    said: SpeechInterval
    log: TurnLog
    late: float = 0.0
    interruption: SpeechInterval | None = None
    error: str | None = None
    timed_out: bool = False

    def result(self, now: float) -> TurnResult:
        """Measure the turn ``now`` seconds after the call began."""
        log, audio, said = self.log, self.log.audio, self.said
        early = measure.speaks_at(audio, said.ends)
        audible = None if early else measure.audible_from(audio, said.ends)
        voice_to_voice = leading = waited = None
        if audible is not None:
            voice_to_voice = self._ms(audible - said.ends)
            leading = measure.leading_silence(audio, said, audible)
        elif self.timed_out and not early:
            waited = round((now - said.ends / audio.rate) * 1000, 3)
        interrupt, recovery = self._interruption_times()
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
            talked_over_ms=round(measure.talked_over(audio, said) * 1000, 3),
            interrupt_ms=interrupt,
            recovery_ms=recovery,
            frame_late_ms=round(log.frame_late * 1000, 3),
            expected=self.question.text,
            check=check.passes(answered) if check and log.answers else None,
            began_s=round(said.begins / audio.rate, 6),
        )

    def _ms(self, samples: int) -> float:
        return round(samples / self.log.audio.rate * 1000, 3)

    def _error(self, early: bool, audible: bool) -> str | None:
        if early:
            return "the agent spoke before the question was over"
        return self.error if audible else self.error or "the reply was not audible"

    def _answered(self) -> str:
        """Words of the reply to the question, as opposed to the reply to an interruption."""
        answers = self.log.answers
        if not answers:
            return ""
        return answers[-1] if self.interruption is None else answers[0]

    def _interruption_times(self) -> tuple[float | None, float | None]:
        """Milliseconds until the agent was silent, and until it answered the interruption."""
        if self.interruption is None:
            return None, None
        audio = self.log.audio
        silent = measure.silent_from(audio, self.interruption.onset)
        again = measure.audible_from(audio, max(silent, self.interruption.ends))
        recovery = None if again is None else self._ms(again - self.interruption.ends)
        return self._ms(silent - self.interruption.onset), recovery

    def _spans(self, voice_to_voice: float | None) -> dict[str, float]:
        rate = self.log.audio.rate
        timings = [spans for at, spans in self.log.spans if at * rate >= self.said.ends]
        if voice_to_voice is None or not timings:
            return {}
        ends = self.said.ends / rate * 1000
        return spans_at_the_ear(timings[0].spans_ms, timings[0].speech_end_ms, ends, voice_to_voice)
