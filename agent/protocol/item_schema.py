"""Reader of the items that a client puts into a conversation."""

from __future__ import annotations

import json
import secrets
from typing import Any

import numpy as np

from agent.audio.samples import Samples, resample
from agent.audio.wire_format import WireFormat
from agent.errors import AudioError
from agent.protocol.client_schema import (
    ITEMS,
    MAX_PARTS,
    MAX_TEXT,
    ContentPart,
    FunctionCallItem,
    FunctionCallOutputItem,
    ItemReference,
    MessageItem,
)
from agent.protocol.problems import bad_value, checked
from agent.protocol.sound import from_base64
from agent.session.events import ClientItem
from asr.engine import RATE

MAX_ITEMS = 128
"""Items in the input of one reply, at most."""
MAX_SECONDS = 60.0
"""Seconds of sound in one item, at most."""


def read_items(values: Any, sound: WireFormat, path: str) -> tuple[ClientItem, ...]:
    """The items of a list.

    Raises:
        BadEvent: as `read_item`, or there are too many.
    """
    if not isinstance(values, list):
        raise bad_value(path, "this must be a list of items", "invalid_type")
    if len(values) > MAX_ITEMS:
        raise bad_value(path, f"{len(values)} items; at most {MAX_ITEMS} are allowed")
    return tuple(read_item(value, sound, f"{path}[{n}]") for n, value in enumerate(values))


def read_item(value: Any, sound: WireFormat, path: str) -> ClientItem:
    """One item.

    Args:
        sound: the format of sound in it.
        path: of the item in the event, for errors.

    Raises:
        BadEvent: the item has an unknown type, or a value that makes no sense.
    """
    if not isinstance(value, dict):
        raise bad_value(path, "this must be an item", "invalid_type")
    kind = value.get("type", "message" if "role" in value else None)
    if not isinstance(kind, str) or kind not in ITEMS:
        known = ", ".join(sorted(ITEMS))
        raise bad_value(f"{path}.type", f"unknown item type {str(kind)[:40]!r}; there are {known}")
    item = checked(ITEMS[kind], value, path)
    match item:
        case FunctionCallItem():
            call_id = item.call_id or f"call_{secrets.token_hex(8)}"
            text = _arguments(item.arguments, path)
            return ClientItem("function_call", item.id, "assistant", text, call_id, item.name)
        case FunctionCallOutputItem():
            text = _output(item.output, path)
            return ClientItem("function_call_output", item.id, "user", text, item.call_id)
        case ItemReference():
            return ClientItem("reference", item.id)
        case MessageItem():
            return _message(item, sound, path)


def _arguments(text: str, path: str) -> str:
    try:
        valid = isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        valid = False
    if not valid:
        raise bad_value(f"{path}.arguments", "this must be the JSON text of an object")
    return text


def _output(output: Any, path: str) -> str:
    """The words of a function's output.

    Newer clients send parts; an object or a number, which some send by mistake, is written as JSON.
    """
    if isinstance(output, str):
        return output
    if isinstance(output, list) and all(isinstance(p, dict) and "type" in p for p in output):
        known = [_part(part, f"{path}.output[{n}]") for n, part in enumerate(output)]
        text = "".join(part.text or "" for part in known)
    else:
        text = json.dumps(output, ensure_ascii=False)
    if len(text) > MAX_TEXT:
        message = f"the output has {len(text)} characters; {MAX_TEXT} are allowed"
        raise bad_value(f"{path}.output", message, "string_above_max_length")
    return text


def _message(item: MessageItem, sound: WireFormat, path: str) -> ClientItem:
    where = f"{path}.content"
    content = [item.content] if isinstance(item.content, str) else item.content or []
    if not content and item.role == "assistant":  # it only called functions
        return ClientItem("message", item.id, item.role, "")
    if not 1 <= len(content) <= MAX_PARTS:
        raise bad_value(where, f"{len(content)} parts; 1 to {MAX_PARTS} are allowed")
    words: list[str] = []
    pieces: list[Samples] = []
    for index, value in enumerate(content):
        part = _part(value, f"{where}[{index}]")
        if part.text or part.transcript:
            words.append(part.text or part.transcript or "")
        elif part.audio is not None:
            if item.role != "user":
                raise bad_value(f"{where}[{index}]", f"sound of the {item.role} needs a transcript")
            pieces.append(_samples(part.audio, sound, f"{where}[{index}].audio"))
        elif part.type in ("input_text", "text", "output_text"):
            words.append("")
    text = "".join(words)
    if len(text) > MAX_TEXT:
        message = f"the text has {len(text)} characters; {MAX_TEXT} are allowed"
        raise bad_value(where, message, "string_above_max_length")
    if pieces and text:
        raise bad_value(where, "a message has words or sound to transcribe, not both")
    joined = np.concatenate(pieces) if pieces else None
    if joined is not None and len(joined) > MAX_SECONDS * RATE:
        raise bad_value(where, f"at most {MAX_SECONDS:.0f} s of sound are allowed")
    return ClientItem("message", item.id, item.role, text, sound=joined)


def _part(value: Any, path: str) -> ContentPart:
    if isinstance(value, str):
        value = {"text": value}
    if isinstance(value, dict) and value.get("type") is None and isinstance(value.get("text"), str):
        value = {**value, "type": "input_text"}
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("input_image", "image", "image_url"):
        message = "this model sees no images; describe the picture in words"
        raise bad_value(f"{path}.type", message, "unsupported_content_type")
    return checked(ContentPart, value, path)


def _samples(audio: str, sound: WireFormat, path: str) -> Samples:
    try:
        samples = sound.decode(from_base64(audio))
    except (ValueError, AudioError) as error:
        raise bad_value(
            path, f"no base64 of {sound.kind} sound: {error}", "invalid_audio"
        ) from None
    if not len(samples):
        raise bad_value(path, "there is no sound in it", "invalid_audio")
    return resample(samples, sound.rate, RATE)
