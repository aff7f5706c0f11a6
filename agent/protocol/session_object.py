"""The session object: the agent's settings with the client's changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from agent.audio.wire_format import WireFormat
from agent.protocol.objects import Event, audio_format, limit, ms
from agent.reply import FunctionTool
from agent.session.events import Configure, ToolChoice


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
        expires_at: second since 1970 at which the call reaches its maximum length.
        decoding: options by which replies are decoded.
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
    expires_at: int = 0
    decoding: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class SessionObject:
    """The session object of one connection."""

    facts: SessionFacts
    _wishes: Configure = field(default_factory=Configure)

    def take(self, change: Configure) -> None:
        """Merge a ``session.update``; fields that the client left out stay."""
        self._wishes = _merged(self._wishes, change)

    @property
    def transcription_only(self) -> bool:
        """Whether the session has no replies."""
        return self._wishes.transcription_only is True

    @property
    def output_format(self) -> WireFormat:
        """The agent's sound in events."""
        return self._wishes.output_format or WireFormat()

    def of_responses(self, sound: WireFormat) -> Event:
        """The fields that the session gives to the object of a response with this ``sound``."""
        output = {"format": audio_format(sound), "voice": self.facts.voice}
        conversation = self.facts.session_id.replace("sess_", "conv_", 1)
        return {"conversation_id": conversation, "audio": {"output": output}}

    def body(self, *, own: bool = False) -> Event:
        """The object in its present state, as JSON; ``own``: with this project's own fields."""
        facts = self.facts
        common: Event = {
            "object": "realtime.session",
            "id": facts.session_id,
            "expires_at": facts.expires_at,
        }
        if self.transcription_only:
            audio = {"input": self._input()}
            return {"type": "transcription", **common, "audio": audio, "include": None}
        fields = {**common, "model": facts.responder, **self._replies()}
        if own:
            fields["onebreath"] = {"events": True, "decoding": dict(facts.decoding)}
        return {"type": "realtime", **fields}

    def _replies(self) -> Event:
        facts, now = self.facts, self._wishes
        output = {
            "format": audio_format(self.output_format),
            "voice": facts.voice,
            "speed": 1.0,
        }
        return {
            "output_modalities": ["text"] if now.text_only else ["audio"],
            "instructions": facts.instructions if now.instructions is None else now.instructions,
            "audio": {"input": self._input(), "output": output},
            "tools": [_tool(tool) for tool in now.tools or ()],
            "tool_choice": _choice(now.tool_choice or ToolChoice()),
            "max_output_tokens": limit(now.max_tokens),
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "include": None,
        }

    def _input(self) -> Event:
        facts, now = self.facts, self._wishes
        return {
            "format": audio_format(now.input_format or WireFormat()),
            "transcription": {"model": facts.recogniser, "language": facts.language},
            "noise_reduction": None,
            "turn_detection": self._turn_detection(),
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
    given = {each.name: getattr(after, each.name) for each in fields(after)}
    return replace(before, **{name: value for name, value in given.items() if value is not None})


def _tool(tool: FunctionTool) -> Event:
    texts = {"type": "function", "name": tool.name, "description": tool.description}
    return {**texts, "parameters": dict(tool.parameters)}


def _choice(choice: ToolChoice) -> Event | str:
    if choice.choice == "function":
        return {"type": "function", "name": choice.name}
    return choice.choice
