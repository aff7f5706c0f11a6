"""The JSON objects in server events."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agent.reply import CanvasStep
from agent.session.notices import Trouble, TurnTimed, WordTimestamps

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


def canvas(response_id: str, step: CanvasStep) -> Event:
    """A denoising step; `draft` is there where the step checked one."""
    body = {"response_id": response_id, **asdict(step)}
    if step.draft is None:
        del body["draft"]
    return body


def place(response_id: str, item_id: str) -> Event:
    """The fields of an event that name its reply and part; a reply has one item and one part."""
    ids = {"response_id": response_id, "item_id": item_id}
    return {**ids, "output_index": 0, "content_index": 0}


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
