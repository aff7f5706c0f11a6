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
        given = body.pop(old, None)
        if body.get(new) is None and given is not None:
            body[new] = given
    if moved_in or moved_out:
        body["audio"] = _with(body.get("audio"), moved_in, moved_out)
    if isinstance(body.get("audio"), dict):
        body["audio"] = _detection(_by_object(body["audio"]))
    return body


def _detection(audio: dict[str, Any]) -> dict[str, Any]:
    """Turn detection by its type alone as an object, and that of the type ``none`` as null."""
    given = audio.get("input")
    detection = given.get("turn_detection") if isinstance(given, dict) else None
    if isinstance(detection, str):
        detection = {"type": detection}
    elif not isinstance(detection, dict):
        return audio
    if detection.get("type") == "none":
        detection = None
    return {**audio, "input": {**given, "turn_detection": detection}}  # type: ignore[dict-item]


def _with(audio: Any, moved_in: dict[str, Any], moved_out: dict[str, Any]) -> Any:
    if audio is None:
        audio = {}
    if not isinstance(audio, dict):
        return audio  # the schema says what is wrong
    result = dict(audio)
    for name, moved in (("input", moved_in), ("output", moved_out)):
        if moved and isinstance(result.get(name, {}) or {}, dict):
            result[name] = {**moved, **_given(result.get(name) or {}, moved)}
    return result


def _by_object(audio: dict[str, Any]) -> dict[str, Any]:
    """Formats by an older name, or by a name alone, such as ``pcm16``, as the objects of today."""
    result = dict(audio)
    for side in ("input", "output"):
        given = result.get(side)
        if isinstance(given, dict) and "format" in given:
            result[side] = {**given, "format": _format(given["format"])}
    return result


def _given(newer: dict[str, Any], older: dict[str, Any]) -> dict[str, Any]:
    """The newer fields that say something: null is a value of turn detection alone."""
    return {
        name: value
        for name, value in newer.items()
        if value is not None or name not in older or name == "turn_detection"
    }


def _format(given: Any) -> Any:
    """A format as an object; null where it says nothing. The API's type of PCM is optional."""
    if isinstance(given, str):
        given = {"type": given}
    if not isinstance(given, dict):
        return given
    if all(value is None for value in given.values()):
        return None
    kind = given.get("type")
    if kind is None:
        return {**given, "type": "audio/pcm"}
    return {**given, "type": FORMATS.get(kind, kind) if isinstance(kind, str) else kind}
