"""The JSON objects in server events."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from agent.audio.wire_format import WireFormat
from agent.reply import CanvasStep
from agent.session.notices import DecisionMade, Item, Trouble, TurnTimed, Usage, WordTimestamps

WIRE_RATE = 24_000
"""Samples per second of audio in events, both ways."""
Event = dict[str, Any]


def ms(seconds: float) -> int:
    """Seconds as whole milliseconds, where the API has no fractions."""
    return round(seconds * 1000)


def response(response_id: str, status: str, output: list[Event]) -> Event:
    """The response object of a reply, with the output so far."""
    return {
        "id": response_id,
        "object": "realtime.response",
        "status": status,
        "status_details": None,
        "output": output,
        "output_modalities": ["audio"],
        "metadata": None,
        "usage": None,
    }


def item(item_id: str, role: str, status: str, content: list[Event]) -> Event:
    """The item object of a message in the conversation."""
    kinds = {"id": item_id, "object": "realtime.item", "type": "message"}
    return {**kinds, "role": role, "status": status, "content": content}


def shown_item(shown: Item) -> Event:
    """The object of an item as the session knows it."""
    status = "completed" if shown.complete else "incomplete"
    ids = {"id": shown.item_id, "object": "realtime.item", "type": shown.kind, "status": status}
    if shown.kind == "function_call":
        call = {"call_id": shown.call_id, "name": shown.name, "arguments": shown.text}
        return {**ids, **call}
    if shown.kind == "function_call_output":
        return {**ids, "call_id": shown.call_id, "output": shown.text}
    return item(shown.item_id, shown.role, status, [_part(shown)])


def _part(shown: Item) -> Event:
    side = "output" if shown.role == "assistant" else "input"
    if shown.spoken:
        return {"type": f"{side}_audio", "transcript": shown.text or None}
    return {"type": f"{side}_text", "text": shown.text}


def call_item(item_id: str, status: str, call_id: str, name: str, arguments: str) -> Event:
    """The item object of a function's call."""
    ids = {"id": item_id, "object": "realtime.item", "type": "function_call", "status": status}
    return {**ids, "call_id": call_id, "name": name, "arguments": arguments}


def usage(counted: Usage | None) -> Event | None:
    """The ``usage`` of a response; null where the responder counts no tokens."""
    if counted is None:
        return None
    return {
        "total_tokens": counted.input_tokens + counted.output_tokens,
        "input_tokens": counted.input_tokens,
        "output_tokens": counted.output_tokens,
        "input_token_details": {
            "text_tokens": counted.input_tokens,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": counted.cached_tokens,
            "cached_tokens_details": {
                "text_tokens": counted.cached_tokens,
                "audio_tokens": 0,
                "image_tokens": 0,
            },
        },
        "output_token_details": {"text_tokens": counted.output_tokens, "audio_tokens": 0},
    }


def audio_format(given: WireFormat) -> Event:
    """The object of an audio format."""
    if given.kind == "pcm":
        return {"type": "audio/pcm", "rate": given.rate}
    return {"type": f"audio/{given.kind}"}


def limit(tokens: float | None) -> int | str:
    """A limit of tokens as the API writes it."""
    return "inf" if tokens is None or math.isinf(tokens) else int(tokens)


def canvas(response_id: str, step: CanvasStep) -> Event:
    """A denoising step; `draft` is there where the step checked one."""
    body = {"response_id": response_id, **asdict(step)}
    if step.draft is None:
        del body["draft"]
    return body


def places(notice: WordTimestamps) -> Event:
    """The body of ``onebreath.playback.words``: the ends of words in a reply's audio."""
    return {
        "response_id": notice.response_id,
        "item_id": notice.item_id,
        "words": [
            {"end_ms": exact_ms(place.position), "characters": place.characters}
            for place in notice.words
        ],
    }


def decision(made: DecisionMade) -> Event:
    """The body of ``onebreath.decision``: questions about the call and their answers."""
    return {
        "item_id": made.item_id or None,
        "when": made.when,
        "decisions": [
            {
                "name": answer.name,
                "value": answer.value,
                "label": answer.label,
                "probability": round(answer.probability, 4),
                "probabilities": {k: round(p, 4) for k, p in answer.probabilities.items()},
                "mean": None if answer.mean is None else round(answer.mean, 3),
                "by": answer.by,
            }
            for answer in made.answers
        ],
        "tags": list(made.tags),
        "effects": list(made.effects),
        "ms": None if made.ms is None else round(made.ms, 1),
    }


def timings(notice: TurnTimed) -> Event:
    """The body of ``onebreath.turn.timings``: the spans of a turn in milliseconds."""
    tried = notice.speculation
    return {
        "response_id": notice.response_id,
        "item_id": notice.item_id,
        "spans_ms": {name: exact_ms(span) for name, span in notice.spans.items()},
        "speech_end_ms": None if notice.speech_end is None else exact_ms(notice.speech_end),
        "work": [
            {"stage": span.name, "start_ms": exact_ms(span.start), "end_ms": exact_ms(span.end)}
            for span in notice.work
        ],
        "speculation": tried
        and {
            "hit": tried.hit,
            "revisions": tried.revisions,
            "saved_ms": exact_ms(tried.saved),
            "wasted_ms": exact_ms(tried.wasted),
        },
        "budget_ms": None if notice.budget is None else exact_ms(notice.budget),
    }


def exact_ms(seconds: float) -> float:
    """Seconds as milliseconds, rounded to microseconds."""
    return round(seconds * 1000, 3)


def error(notice: Trouble) -> Event:
    """The error object: the problem, and the client's event that caused it."""
    return {
        "type": notice.kind,
        "code": notice.code,
        "message": notice.message,
        "param": notice.param,
        "event_id": notice.event_id,
    }
