"""Reader of session objects: a client's wishes in, what can be applied out, and what cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from agent.audio.wire_format import G711_RATE, WireFormat
from agent.protocol.abilities import Reading
from agent.protocol.client_schema import Noted
from agent.protocol.older_names import modern
from agent.protocol.problems import bad_value, checked
from agent.protocol.session_schema import (
    APPLIED,
    DERIVED,
    Audio,
    AudioInput,
    AudioOutput,
    Format,
    SessionConfig,
    TurnDetection,
)
from agent.protocol.tool_schema import names_unusable_tool, read_choice, read_tools
from agent.session.events import Configure

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds of silence that may end a turn."""
LONGEST_PRE_ROLL = 2.0
KINDS = ("server_vad", "semantic_vad")
"""The kinds of turn detection."""
MOST_TOKENS = 1 << 31
"""Tokens of a reply; a larger limit is this one."""


def read_session(value: dict[str, Any], reading: Reading) -> Configure:
    """The settings in a session object; ``reading`` is brought up to date with them.

    Raises:
        BadEvent: a field has a value that makes no sense. Nothing is applied then.
    """
    value = modern(value)
    session = checked(SessionConfig, value, "session")
    change = Configure(instructions=session.instructions)
    ignored = list(_unknown(value))
    if session.type is not None:
        change = replace(change, transcription_only=session.type == "transcription")
    if session.output_modalities:
        change = replace(change, text_only="audio" not in session.output_modalities)
    if session.max_output_tokens is not None:
        change = replace(change, max_tokens=read_limit(session.max_output_tokens, "session"))
    if session.onebreath is not None:
        change = replace(change, own_events=session.onebreath.events)
    change = _tools(session, reading, change, ignored)
    if session.audio is not None:
        change = _audio(session.audio, reading, change, ignored)
    abilities = reading.abilities
    if session.model not in (None, "", abilities.model):
        ignored.append(f"session.model {session.model!r} ({abilities.model} replies)")
    if change.max_tokens is not None and not abilities.tools and math.isfinite(change.max_tokens):
        ignored.append("session.max_output_tokens (this responder has its own limit)")
        change = replace(change, max_tokens=None)
    _remember(change, reading)
    return replace(change, ignored=tuple(ignored))


def read_limit(value: int | str, path: str) -> float:
    """The longest reply in tokens; infinite for ``inf``.

    Raises:
        BadEvent: it is less than one token.
    """
    if value == "inf":
        return math.inf
    if int(value) < 1:
        raise bad_value(f"{path}.max_output_tokens", "at least 1, or 'inf'")
    return float(min(int(value), MOST_TOKENS))  # the whole numbers of JSON have no end


def _remember(change: Configure, reading: Reading) -> None:
    if change.input_format is not None:
        reading.input_format = change.input_format
    if change.transcription_only is not None:
        reading.transcription_only = change.transcription_only


def _unknown(value: dict[str, Any]) -> Iterator[str]:
    for name, given in value.items():
        if name not in APPLIED and name not in DERIVED and given is not None:
            yield f"session.{name[:40]}"


def extra_fields(given: Noted, path: str) -> Iterator[str]:
    """The fields of ``given``, and of what it holds, that mean nothing here, by their paths."""
    for name, value in (given.model_extra or {}).items():
        if value is not None:
            yield f"{path}.{name[:40]}"
    for name in type(given).model_fields:
        inner = getattr(given, name)
        if isinstance(inner, Noted):
            yield from extra_fields(inner, f"{path}.{name}")


def other_voice(output: AudioOutput, reading: Reading, path: str) -> Iterator[str]:
    """The wish for a voice or a speed that is not the server's."""
    voice = output.voice
    if isinstance(voice, dict):
        voice = voice.get("id") or voice.get("name")
    if voice not in (None, "", reading.abilities.voice):
        yield f"{path}.voice {voice!r} ({reading.abilities.voice} speaks)"
    if output.speed not in (None, 1):
        yield f"{path}.speed (this voice has one)"


def _tools(
    session: SessionConfig, reading: Reading, change: Configure, ignored: list[str]
) -> Configure:
    tools = reading.tools
    if session.tools is not None:
        tools, unusable = read_tools(session.tools, "session.tools", reading.abilities.refuses)
        ignored += unusable
    choice, known = None, (*tools, *reading.abilities.own_tools())
    if names_unusable_tool(session.tool_choice, session.tools, known):
        ignored.append("session.tool_choice (it names a tool that is left out)")
    elif session.tool_choice is not None:
        choice = read_choice(session.tool_choice, known, "session.tool_choice")
    reading.tools = tools
    if not reading.abilities.tools:
        if tools and session.tools is not None:
            ignored.append("session.tools (this responder calls no functions)")
        return change
    return replace(change, tools=None if session.tools is None else tools, tool_choice=choice)


def _audio(audio: Audio, reading: Reading, change: Configure, ignored: list[str]) -> Configure:
    abilities = reading.abilities
    if (given := audio.input) is not None:
        change = _turns(given, change, ignored)
        if given.format is not None:
            change = replace(change, input_format=wire_format(given.format))
        if given.noise_reduction is not None:
            ignored.append("session.audio.input.noise_reduction (the recogniser needs none)")
        wishes = given.transcription
        if wishes is not None:
            if wishes.model not in (None, "", abilities.recogniser):
                ignored.append(
                    f"session.audio.input.transcription.model ({abilities.recogniser} transcribes)"
                )
            if wishes.language not in (None, "", abilities.language):
                ignored.append(
                    f"session.audio.input.transcription.language ({abilities.language} is set)"
                )
            if wishes.prompt:
                ignored.append("session.audio.input.transcription.prompt")
    if (output := audio.output) is not None:
        if output.format is not None:
            change = replace(change, output_format=wire_format(output.format))
        ignored += other_voice(output, reading, "session.audio.output")
    ignored += extra_fields(audio, "session.audio")
    return change


def wire_format(given: Format) -> WireFormat:
    """The format that a client names; PCM has 24,000 samples a second unless it says another."""
    kind = given.type.removeprefix("audio/")
    if kind == "pcm":
        return WireFormat("pcm", given.rate or 24_000)
    return WireFormat(cast("Any", kind), G711_RATE)


def _turns(given: AudioInput, change: Configure, ignored: list[str]) -> Configure:
    if "turn_detection" not in given.model_fields_set:
        return change
    vad = given.turn_detection
    if vad is None:
        return replace(change, turn_detection=False)
    semantic = _semantic(vad.type, ignored)
    change = replace(
        change,
        turn_detection=True,
        semantic=semantic,
        create_response=vad.create_response,
        interrupt_response=vad.interrupt_response,
    )
    if semantic:
        return replace(change, eagerness=vad.eagerness)
    return replace(change, **_server_vad(vad, ignored))


def _semantic(kind: str | None, ignored: list[str]) -> bool | None:
    """Whether the words help to decide; None as the server has it, at kinds of other services."""
    if kind is None or kind in KINDS:
        return None if kind is None else kind == "semantic_vad"
    path = "session.audio.input.turn_detection.type"
    if "vad" not in kind:
        raise bad_value(path, f"there is no {kind[:40]!r}; there are {', '.join(KINDS)} and none")
    ignored.append(f"{path} {kind[:40]!r} (the server's is used)")
    return None


def _server_vad(vad: TurnDetection, ignored: list[str]) -> dict[str, Any]:
    """The settings of turn detection by silence, within the bounds that make sense."""
    silence, pre_roll = vad.silence_duration_ms, vad.prefix_padding_ms
    threshold = vad.threshold
    path = "session.audio.input.turn_detection"
    changes: dict[str, Any] = {}
    if silence is not None:
        seconds = min(max(silence / 1000, SHORTEST_PAUSE), LONGEST_PAUSE)
        changes["endpoint_delay"] = seconds
        if seconds != silence / 1000:
            ignored.append(f"{path}.silence_duration_ms {silence} ({seconds:g} s is used)")
    if pre_roll is not None:
        changes["pre_roll"] = min(pre_roll / 1000, LONGEST_PRE_ROLL)
        if pre_roll / 1000 > LONGEST_PRE_ROLL:
            ignored.append(f"{path}.prefix_padding_ms {pre_roll} ({LONGEST_PRE_ROLL:g} s is used)")
    if threshold is not None:
        changes["threshold"] = min(max(threshold, 0.01), 0.99)
    if "idle_timeout_ms" in vad.model_fields_set:
        idle = vad.idle_timeout_ms
        changes["idle_after"] = math.inf if idle is None else idle / 1000
    return changes
