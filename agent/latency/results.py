"""The measured result of a turn, as it is written to files and to other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class TurnResult:
    """One measured turn. Latencies are taken at the caller's ear; docs/latency.md defines them.

    Attributes:
        turn: number of the turn within the run, from 1.
        file: name of the question's recording.
        heard: the agent's transcript of the question.
        answered: words of the reply.
        voice_to_voice_ms: milliseconds from the caller's last sample above the noise floor to the
            first audible sample of the reply; None: there was no reply.
        spans: milliseconds by span name, summing to ``voice_to_voice_ms``; empty: the server does
            not report its spans.
        reply_seconds: seconds of audio in the reply.
        stats: counts of the responder by name, if the server reports them.
        error: errors of the turn as text; None: the turn succeeded.
        late_ms: milliseconds between the time at which the question was due and its start.
        waited_ms: milliseconds that the caller waited for a reply that did not come.
        leading_silence_ms: milliseconds of silence in the reply before its first audible sample.
        gaps_ms: milliseconds of each gap in the reply at which audio arrived late.
        talked_over_ms: milliseconds of audible agent audio during the question.
        interrupt_ms: milliseconds from the first sample of the interruption until the agent is
            silent; None: the turn was not interrupted.
        recovery_ms: milliseconds from the last sample of the interruption to the first audible
            sample of the reply to it.
        frame_late_ms: milliseconds by which the caller sent its latest frame late, which should
            be near zero.
        expected: words of the question, if they are known.
        check: whether the answer is right; None: there is no check, or no answer.
        call: number of the call, from 1; 0: outside a load test.
        began_s: second of the call's recording at which the question begins.
        warmup: whether the turn is left out of the figures.
    """

    turn: int
    file: str
    heard: str
    answered: str
    voice_to_voice_ms: float | None
    spans: dict[str, float] = field(default_factory=dict)
    reply_seconds: float = 0.0
    stats: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    late_ms: float = 0.0
    waited_ms: float | None = None
    leading_silence_ms: float | None = None
    gaps_ms: list[float] = field(default_factory=list)
    talked_over_ms: float = 0.0
    interrupt_ms: float | None = None
    recovery_ms: float | None = None
    frame_late_ms: float = 0.0
    expected: str | None = None
    check: bool | None = None
    call: int = 0
    began_s: float = 0.0
    warmup: bool = False

    @property
    def total_ms(self) -> float | None:
        """Milliseconds from the time at which the question was due to end until the reply is heard.

        A turn without a reply counts with the time that the caller waited. None: no time is
        known, for example because the connection was lost.
        """
        if self.voice_to_voice_ms is not None:
            return self.voice_to_voice_ms + self.late_ms
        return None if self.waited_ms is None else self.waited_ms + self.late_ms

    def to_json(self) -> str:
        """The turn as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TurnResult:
        """Read a decoded JSON row; unknown fields are ignored.

        Raises:
            TypeError: a required field is missing.
        """
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in row.items() if name in known})


def spans_at_the_ear(
    server_spans: Mapping[str, float],
    server_speech_end_ms: float | None,
    speech_end_ms: float,
    voice_to_voice_ms: float,
) -> dict[str, float]:
    """Adjust the server's spans to begin and end at the caller's ear; all in milliseconds.

    Server and caller count the same samples, so the difference between their ends of speech goes
    to ``endpoint_wait``. The time that is left of the whole is ``transport``: frames, network and
    pacing.

    Args:
        server_spans: spans by name as the server reports them.
        server_speech_end_ms: end of speech by the server, if it reports one.
        speech_end_ms: end of speech in the recording.
        voice_to_voice_ms: latency at the ear, the sum of the returned spans.
    """
    spans = dict(server_spans)
    if server_speech_end_ms is not None:
        spans["endpoint_wait"] += server_speech_end_ms - speech_end_ms
    spans = {name: round(span, 3) for name, span in spans.items()}
    others = sum(span for name, span in spans.items() if name != "transport")
    spans["transport"] = round(voice_to_voice_ms - others, 3)
    return spans
