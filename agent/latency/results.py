"""One row per turn, as it goes to files and to other programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What one turn was and took, measured at the caller's ear."""

    turn: int
    """Counts from 1 within the call."""
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

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def spans_at_the_ear(
    server_spans: dict[str, float],
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
