"""Schema of a session object, as ``session.update`` and an offer carry it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from agent.protocol.client_schema import Lenient, Milliseconds, Noted

MAX_INSTRUCTIONS = 32_768
"""Characters of the instructions, at most."""
LONGEST_MS = 86_400_000
"""Milliseconds of a setting, at most: larger whole numbers of JSON do not fit into a float."""


def _known_modalities(value: Any) -> Any:
    """The modalities that there are here, such as those beside an ``avatar``; else the value."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list):
        return value
    return [name for name in names if name in ("text", "audio")] or names


Modalities = Annotated[list[Literal["text", "audio"]], BeforeValidator(_known_modalities)]


class Format(Noted):
    """A format of audio; ``rate`` is for PCM."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: int | None = Field(None, ge=8000, le=48_000)


class TurnDetection(Noted):
    """Turn detection, by silence or by the words too; other kinds of it are the server's own."""

    type: str | None = None
    threshold: float | None = Field(None, ge=0, le=1)
    prefix_padding_ms: Milliseconds | None = Field(None, ge=0, le=LONGEST_MS)
    silence_duration_ms: Milliseconds | None = Field(None, ge=0, le=LONGEST_MS)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: Milliseconds | None = Field(None, ge=5000, le=30_000)
    eagerness: Literal["low", "medium", "high", "auto"] | None = None


class Transcription(Noted):
    """Wishes for the recogniser."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None


class NoiseReduction(Lenient):
    """A wish for noise reduction."""

    type: str | None = None


class AudioInput(Noted):
    """Settings of the caller's audio."""

    format: Format | None = None
    turn_detection: TurnDetection | None = None
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None


class AudioOutput(Noted):
    """Settings of the agent's audio."""

    format: Format | None = None
    voice: str | dict[str, Any] | None = None
    speed: float | None = Field(None, ge=0.25, le=4)


class Audio(Noted):
    """Settings of audio, both ways."""

    input: AudioInput | None = None
    output: AudioOutput | None = None


class OwnSettings(Lenient):
    """Settings of this project's own."""

    events: bool | None = None


class SessionConfig(Lenient):
    """A session as its client wants it."""

    type: Literal["realtime", "transcription"] | None = None
    model: str | None = None
    instructions: str | None = Field(None, max_length=MAX_INSTRUCTIONS)
    output_modalities: Modalities | None = None
    audio: Audio | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    max_output_tokens: int | Literal["inf"] | None = None
    onebreath: OwnSettings | None = None


APPLIED = frozenset(SessionConfig.model_fields)
"""The fields of a session that are read; others are reported as ignored."""
DERIVED = frozenset({"id", "object", "expires_at", "client_secret"})
"""The fields that a client may send back as it got them."""
