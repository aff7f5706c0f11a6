"""Reader of the items that a client puts into a conversation."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

import numpy as np

from agent.audio.base64_text import from_base64
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
from agent.protocol.problems import BadEvent, bad_value, checked
from agent.session.events import ClientItem
from asr.engine import RATE

MAX_ITEMS = 128
"""Items in the input of one reply, at most."""
MAX_SECONDS = 60.0
"""Seconds of sound in one item, at most."""
UNSEEN = frozenset({"input_image", "image", "image_url"})
"""Types of parts that are pictures."""
UNREAD = frozenset({"input_file", "input_video", "refusal"})
"""Types of other parts that services with this API know."""
KINDS = {
    "text": "input_text",
    "audio": "input_audio",
    "transcript": "input_audio",
    "image_url": "input_image",
    "detail": "input_image",
}
"""The type of a part that has none, by the field that it has."""
OF_MCP = frozenset({"mcp_list_tools", "mcp_call", "mcp_approval_request", "mcp_approval_response"})
"""Kinds of items that tell of MCP servers of a client; there are none here."""


def read_items(
    values: Any, sound: WireFormat, path: str
) -> tuple[tuple[ClientItem, ...], tuple[str, ...]]:
    """(the items of a list, what of it is left out, each in a few words).

    Raises:
        BadEvent: as `read_item`, or there are too many.
    """
    if not isinstance(values, list):
        raise bad_value(path, "this must be a list of items", "invalid_type")
    if len(values) > MAX_ITEMS:
        raise bad_value(path, f"{len(values)} items; at most {MAX_ITEMS} are allowed")
    items: list[ClientItem] = []
    left_out: list[str] = []
    for n, value in enumerate(values):
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in OF_MCP:
            left_out.append(f"{path}[{n}] ({kind})")
            continue
        try:
            items.append(read_item(value, sound, f"{path}[{n}]"))
        except BadEvent as error:
            if error.trouble.code != "unsupported_content_type":
                raise
            left_out.append(error.trouble.message)
        else:
            left_out += items[-1].left_out
    return tuple(items), tuple(left_out)


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
            text, left = _output(item.output, path)
            made = ClientItem("function_call_output", item.id, "user", text, item.call_id)
            return replace(made, left_out=left)
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


def _output(output: Any, path: str) -> tuple[str, tuple[str, ...]]:
    """(the words of a function's output, the parts of it that are left out).

    Newer clients send parts; an object or a number, which some send by mistake, is written as JSON.
    """
    left: tuple[str, ...] = ()
    if isinstance(output, str):
        return output, left
    if isinstance(output, list) and all(isinstance(p, dict) and "type" in p for p in output):
        known, left = _parts(output, f"{path}.output", needed=False)
        text = "".join(part.text or "" for _, part in known)
    else:
        text = json.dumps(output, ensure_ascii=False)
    if len(text) > MAX_TEXT:
        message = f"the output has {len(text)} characters; {MAX_TEXT} are allowed"
        raise bad_value(f"{path}.output", message, "string_above_max_length")
    return text, left


def _message(item: MessageItem, sound: WireFormat, path: str) -> ClientItem:
    where = f"{path}.content"
    content = [item.content] if isinstance(item.content, str) else item.content or []
    if not content and item.role == "assistant":  # it only called functions
        return ClientItem("message", item.id, item.role, "")
    if not 1 <= len(content) <= MAX_PARTS:
        raise bad_value(where, f"{len(content)} parts; 1 to {MAX_PARTS} are allowed")
    words: list[str] = []
    pieces: list[Samples] = []
    known, left = _parts(content, where, needed=item.role != "assistant")
    for place, part in known:
        if part.text or part.transcript:
            words.append(part.text or part.transcript or "")
        elif part.audio is not None:
            if item.role != "user":
                raise bad_value(place, f"sound of the {item.role} needs a transcript")
            pieces.append(_samples(part.audio, sound, f"{place}.audio"))
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
    return ClientItem("message", item.id, item.role, text, sound=joined, left_out=left)


def _parts(
    content: list[Any], path: str, *, needed: bool
) -> tuple[list[tuple[str, ContentPart]], tuple[str, ...]]:
    """(the parts with their paths, what is left out beside them, each in a few words).

    Args:
        needed: whether something must be left of them.

    Raises:
        BadEvent: a part makes no sense, or nothing is left that should be.
    """
    known: list[tuple[str, ContentPart]] = []
    left_out: list[str] = []
    for n, value in enumerate(content):
        place, value = f"{path}[{n}]", _typed(value)
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in UNSEEN | UNREAD:
            why = "this model sees no images" if kind in UNSEEN else "this is not read"
            left_out.append(f"{place}.type ({kind}: {why})")
        else:
            known.append((place, checked(ContentPart, value, place)))
    if needed and left_out and not known:
        message = f"this model takes words and sound, no {kind}; describe in words what it shows"
        raise bad_value(f"{path}[0].type", message, "unsupported_content_type")
    return known, tuple(left_out)


def _typed(value: Any) -> Any:
    """A part with its type, which the API's types allow to leave out."""
    if isinstance(value, str):
        return {"type": "input_text", "text": value}
    if not isinstance(value, dict) or value.get("type") is not None:
        return value
    found = (kind for name, kind in KINDS.items() if isinstance(value.get(name), str))
    return {**value, "type": kind} if (kind := next(found, None)) else value


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
