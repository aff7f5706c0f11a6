"""The field names of the API's beta, which some clients still send, as those of its GA form."""

from __future__ import annotations

from typing import Any

FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
INPUT = {
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
OUTPUT = {"voice": "voice", "speed": "speed"}


def modern(session: dict[str, Any]) -> dict[str, Any]:
    """``session`` with the older names replaced; a newer name that is given too wins."""
    body = dict(session)
    moved_in = {new: body.pop(old) for old, new in INPUT.items() if old in body}
    moved_out = {new: body.pop(old) for old, new in OUTPUT.items() if old in body}
    for name, moved in (("input_audio_format", moved_in), ("output_audio_format", moved_out)):
        if body.get(name) is not None:
            moved["format"] = _format(body[name])
        body.pop(name, None)
    for old, new in (
        ("modalities", "output_modalities"),
        ("max_response_output_tokens", "max_output_tokens"),
    ):
        if old in body:
            body.setdefault(new, body.pop(old))
    if moved_in or moved_out:
        body["audio"] = _with(body.get("audio"), moved_in, moved_out)
    if isinstance(body.get("audio"), dict):
        body["audio"] = _without_off(_by_object(body["audio"]))
    return body


def _without_off(audio: dict[str, Any]) -> dict[str, Any]:
    """Turn detection of the type ``none``, which some clients send, as null."""
    given = audio.get("input")
    detection = given.get("turn_detection") if isinstance(given, dict) else None
    if not isinstance(detection, dict) or detection.get("type") != "none":
        return audio
    return {**audio, "input": {**given, "turn_detection": None}}  # type: ignore[dict-item]


def _with(audio: Any, moved_in: dict[str, Any], moved_out: dict[str, Any]) -> Any:
    if audio is None:
        audio = {}
    if not isinstance(audio, dict):
        return audio  # the schema says what is wrong
    result = dict(audio)
    for name, moved in (("input", moved_in), ("output", moved_out)):
        if moved and isinstance(result.get(name, {}) or {}, dict):
            result[name] = {**moved, **(result.get(name) or {})}
    return result


def _by_object(audio: dict[str, Any]) -> dict[str, Any]:
    """Formats that are given by name alone, such as ``pcm16``, as objects."""
    result = dict(audio)
    for side in ("input", "output"):
        given = result.get(side)
        if isinstance(given, dict) and isinstance(given.get("format"), str):
            result[side] = {**given, "format": _format(given["format"])}
    return result


def _format(given: Any) -> Any:
    return {"type": FORMATS.get(given, given)} if isinstance(given, str) else given
