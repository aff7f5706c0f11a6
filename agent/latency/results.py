"""One row per turn, as it goes to files and to other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What one turn was and took, measured at the caller's ear. docs/latency.md defines each."""

    turn: int
    """Counts from 1 within the run."""
    file: str
    heard: str
    answered: str
    voice_to_voice_ms: float | None
    """Last caller sample above the noise floor -> first audible reply sample; None: no reply."""
    spans: dict[str, float] = field(default_factory=dict)
    """Milliseconds by span name; they sum to ``voice_to_voice_ms``. Empty: unknown server."""
    reply_seconds: float = 0.0
    stats: dict[str, float] = field(default_factory=dict)
    """What the responder counted, if the server tells."""
    error: str | None = None
    late_ms: float = 0.0
    """How long after the moment it was due the question was begun."""
    waited_ms: float | None = None
    """How long the caller waited for a reply that did not come."""
    leading_silence_ms: float | None = None
    """Sound of the reply before its first audible sample."""
    gaps_ms: list[float] = field(default_factory=list)
    """Times within the reply at which no sound had arrived in time."""
    talked_over_ms: float = 0.0
    """Audible sound of the agent while the question was spoken."""
    interrupt_ms: float | None = None
    """First sample of an interruption -> the agent is silent; None: nobody interrupted."""
    recovery_ms: float | None = None
    """Last sample of the interruption -> first audible sample of the reply to it."""
    frame_late_ms: float = 0.0
    """How late the caller itself sent its latest frame of sound: it should be near zero."""
    expected: str | None = None
    """The words of the question, if they are known."""
    check: bool | None = None
    """Whether the answer is right; None: nobody said what is right, or what was answered."""
    call: int = 0
    began_s: float = 0.0
    """Where the question begins in the recording of its call."""
    warmup: bool = False

    @property
    def total_ms(self) -> float | None:
        """Voice to voice, counted from when the question was due to end.

        A turn without a reply took at least as long as was waited for it. None: nothing
        is known, as when the connection was lost.
        """
        if self.voice_to_voice_ms is not None:
            return self.voice_to_voice_ms + self.late_ms
        return None if self.waited_ms is None else self.waited_ms + self.late_ms

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TurnResult:
        """The inverse of ``to_json``; fields that are not known are left out.

        Raises:
            TypeError: a field is missing.
        """
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in row.items() if name in known})


def spans_at_the_ear(
    server_spans: Mapping[str, float],
    server_speech_end_ms: float | None,
    speech_end_ms: float,
    voice_to_voice_ms: float,
) -> dict[str, float]:
    """The server's spans, made to end and begin where the caller's ear does.

    The server and the caller count the same samples, so the server's idea of where speech
    ended is set right in the endpoint wait. What is left between the spans and the whole
    went by on the way: frames, network, pacing.
    """
    spans = dict(server_spans)
    if server_speech_end_ms is not None:
        spans["endpoint_wait"] += server_speech_end_ms - speech_end_ms
    spans = {name: round(span, 3) for name, span in spans.items()}
    others = sum(span for name, span in spans.items() if name != "transport")
    spans["transport"] = round(voice_to_voice_ms - others, 3)
    return spans
