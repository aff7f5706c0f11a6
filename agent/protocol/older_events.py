"""Server events as the API's beta had them, for clients that ask for that version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent.protocol.objects import Event
from agent.protocol.older_names import FORMATS

HEADER, VERSION = "openai-beta", "realtime=v1"
"""The header by which a client asks for the beta, and what it holds."""
SUBPROTOCOL = "openai-beta.realtime-v1"
"""The subprotocol by which a browser asks for it."""

EVENTS = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
"""The beta's names of events that are called otherwise now."""
UNKNOWN = frozenset({"conversation.item.done"})
"""Events that the beta did not have."""
PARTS = {"output_text": "text", "output_audio": "audio"}
TEMPERATURE = 0.8
"""Shown as the beta's default; replies have no temperature that a client sets."""
_FORMATS = {new: old for old, new in FORMATS.items()}


def asks_for_beta(header: str | None, subprotocols: Iterable[str] = ()) -> bool:
    """Whether a request asks for the beta's events, by its header or a subprotocol."""
    by_header = VERSION in (header or "").lower().replace(" ", "")
    return by_header or SUBPROTOCOL in subprotocols


def as_beta(kind: str, body: Event) -> tuple[str, Event] | None:
    """The type and body of an event in the beta's form; None if the beta has no such event."""
    if kind in UNKNOWN:
        return None
    changed = dict(body)
    if "session" in body:
        if body["session"]["type"] == "transcription":
            kind = f"transcription_{kind}"
        changed["session"] = beta_session(body["session"])
    if "item" in body:
        changed["item"] = _item(body["item"])
    if "response" in body:
        changed["response"] = _response(body["response"])
    return EVENTS.get(kind, kind), changed


def beta_session(session: Event) -> Event:
    """A session object in the beta's form, which is flat."""
    body = {name: value for name, value in session.items() if name not in _GA_ONLY}
    hears = session["audio"]["input"]
    body |= {
        "input_audio_format": _format(hears["format"]),
        "input_audio_transcription": hears["transcription"],
        "input_audio_noise_reduction": hears["noise_reduction"],
        "turn_detection": hears["turn_detection"],
    }
    if (speaks := session["audio"].get("output")) is not None:
        body |= {
            "modalities": _modalities(session),
            "voice": speaks["voice"],
            "speed": speaks["speed"],
            "output_audio_format": _format(speaks["format"]),
            "temperature": TEMPERATURE,
            "max_response_output_tokens": session["max_output_tokens"],
        }
    return body


_GA_ONLY = frozenset({"type", "audio", "output_modalities", "max_output_tokens"})


def _response(response: Event) -> Event:
    body = {name: value for name, value in response.items() if name not in _GA_ONLY}
    speaks = response["audio"]["output"]
    return {
        **body,
        "output": [_item(item) for item in response["output"]],
        "modalities": _modalities(response),
        "voice": speaks["voice"],
        "output_audio_format": _format(speaks["format"]),
        "temperature": TEMPERATURE,
        "max_output_tokens": response["max_output_tokens"],
    }


def _modalities(given: Event) -> list[str]:
    """The beta says that spoken replies have words, too."""
    return ["text"] if given["output_modalities"] == ["text"] else ["text", "audio"]


def _item(item: Event) -> Event:
    if "content" not in item:
        return item
    content = [{**part, "type": PARTS.get(part["type"], part["type"])} for part in item["content"]]
    return {**item, "content": content}


def _format(given: dict[str, Any]) -> str:
    return _FORMATS[given["type"]]
