"""The session object: the agent's settings with the client's changes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

from agent.protocol.objects import WIRE_RATE, Event, ms
from agent.session.events import Configure


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """The agent's settings as shown in a session object.

    Attributes:
        session_id: id of the connection's session.
        instructions: system prompt.
        responder: model or engine of the replies.
        recogniser: model or engine of the transcripts.
        voice: voice or engine of the speech.
        language: language code of the recogniser.
        detection: ``server_vad`` or ``semantic_vad``.
        threshold: speech probability, 0 to 1.
        endpoint_delay: seconds of silence that end a turn.
        pre_roll: seconds of audio kept from before the speech.
        idle_after: seconds of silence before the agent asks; None for never.
    """

    session_id: str
    instructions: str
    responder: str
    recogniser: str
    voice: str
    language: str
    detection: str
    threshold: float
    endpoint_delay: float
    pre_roll: float
    idle_after: float | None


@dataclass(slots=True)
class SessionObject:
    """The session object of one connection."""

    facts: SessionFacts
    _wishes: Configure = field(default_factory=Configure)

    def take(self, change: Configure) -> None:
        """Merge a ``session.update``; fields that the client left out stay."""
        self._wishes = _merged(self._wishes, change)

    def body(self) -> Event:
        """The object in its present state, as JSON."""
        facts, now = self.facts, self._wishes
        pcm = {"type": "audio/pcm", "rate": WIRE_RATE}
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": facts.session_id,
            "model": facts.responder,
            "output_modalities": ["audio"],
            "instructions": facts.instructions if now.instructions is None else now.instructions,
            "audio": {
                "input": {
                    "format": pcm,
                    "transcription": {"model": facts.recogniser, "language": facts.language},
                    "noise_reduction": None,
                    "turn_detection": self._turn_detection(),
                },
                "output": {"format": pcm, "voice": facts.voice, "speed": 1.0},
            },
            "tools": [],
            "tool_choice": "auto",
        }

    def _turn_detection(self) -> Event | None:
        facts, now = self.facts, self._wishes
        if now.turn_detection is False:
            return None
        replies = {
            "create_response": now.create_response is not False,
            "interrupt_response": now.interrupt_response is not False,
        }
        semantic = facts.detection == "semantic_vad" if now.semantic is None else now.semantic
        if semantic:
            return {"type": "semantic_vad", "eagerness": now.eagerness or "auto", **replies}
        return {
            "type": "server_vad",
            "threshold": facts.threshold if now.threshold is None else now.threshold,
            "prefix_padding_ms": ms(facts.pre_roll if now.pre_roll is None else now.pre_roll),
            "silence_duration_ms": ms(
                facts.endpoint_delay if now.endpoint_delay is None else now.endpoint_delay
            ),
            "idle_timeout_ms": _idle_timeout(facts.idle_after, now.idle_after),
            **replies,
        }


def _idle_timeout(by_settings: float | None, by_client: float | None) -> int | None:
    if by_client is None:
        return None if by_settings is None else ms(by_settings)
    return ms(by_client) if math.isfinite(by_client) else None


def _merged(before: Configure, after: Configure) -> Configure:
    changes = {key: value for key, value in asdict(after).items() if value is not None}
    return Configure(**{**asdict(before), **changes})
