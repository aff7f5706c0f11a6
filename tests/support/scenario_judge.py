"""The verdict on a scenario: what the caller lived through beside what he should have."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from agent.protocol import WIRE_RATE
from support.scenario import Outcome, holds, matches
from support.scenario_director import Director
from support.scenario_phone import Phone
from tts.speakable import speakable

APART = "Classify."
"""Instructions of replies outside the conversation, whose prompts their client composes."""
Log = list[tuple[float, dict[str, Any]]]


def judge(call: Director) -> None:
    """Judge a conversation that has come to rest.

    Raises:
        AssertionError: with all that differs, and the log of the call.
    """
    phone, outcome = call.phone, call.scenario.outcome
    call.problems += phone.faults
    facts = {
        "replies": len(call.replies),
        "heard": [phone.words_of(reply) for reply in call.replies],
        "statuses": [reply.status for reply in call.replies],
        "ear": phone.all_words() if outcome.ear is not None else None,
        "errors": [e["error"]["code"] for _, e in call.log if e["type"] == "error"],
        "closed": phone.close_code,
        "apart": {
            reply.topic: reply.said if reply.status == "completed" else reply.status
            for reply in phone.apart.values()
        },
    }
    for name, found in facts.items():
        wanted = getattr(outcome, name)
        if wanted is not None:
            call.expect(name, found, wanted)
    call.problems += [
        *_events(outcome, call.log),
        *_gaps(call, outcome.gap_ms),
        *_memory(call),
        *_prompts(call),
    ]
    assert not call.problems, "\n".join([*call.problems, *_story(phone)])


def _events(outcome: Outcome, log: Log) -> Iterator[str]:
    events = [event for _, event in log]
    rest = iter(events)
    for wanted in outcome.events:
        if not any(matches(event, wanted) for event in rest):
            yield f"{wanted} did not arrive, or not in this order"
            break
    for wanted in outcome.never:
        if any(matches(event, wanted) for event in events):
            yield f"{wanted} arrived"
    for kind, body in outcome.last.items():
        last = next((e for e in reversed(events) if e["type"] == kind), None)
        if not holds(last, body):
            yield f"the last {kind} was {last}, and has not {body}"


def _gaps(call: Director, limit: float | None) -> Iterator[str]:
    for reply in call.replies:
        if limit is not None and reply.status == "completed":
            places = np.flatnonzero(np.abs(call.phone.sound_of(reply)[1]) > 0.01)
            gap = float(np.diff(places).max(initial=0)) / WIRE_RATE * 1000
            if gap > limit + call.slack_ms:
                yield f"a gap of {gap:.0f} ms in {reply.id}"


def _memory(call: Director) -> Iterator[str]:
    """The agent remembers the words that were heard: no more, no less, fillers aside."""
    filler = str(call.scenario.settings.get("call", {}).get("filler"))
    truncated = {e["item_id"] for _, e in call.log if e["type"].endswith(".truncated")}
    for reply in call.replies:
        heard = call.phone.words_of(reply)
        if reply.said != filler:
            heard = "" if filler.startswith(heard) else heard.removeprefix(filler).strip()
        checked = reply.over and not reply.text_only and reply.item_id not in truncated
        if checked and not _same(call, heard, reply.said):
            yield f"heard {heard!r}, remembered {reply.said!r}"


def _same(call: Director, heard: str, said: str) -> bool:
    """In virtual time word for word; in real time the last word may be on its way."""
    ours, theirs = heard.split(), speakable(said).text.split()
    if not call.slack_ms:
        return ours == theirs
    shorter = min(len(ours), len(theirs))
    return abs(len(ours) - len(theirs)) <= 1 and ours[:shorter] == theirs[:shorter]


def _prompts(call: Director) -> Iterator[str]:
    for prompt in call.engines.responder.prompts:
        roles = [message.role for message in prompt]
        # The agent may speak after the output of a function that it called.
        sides = [message for message in prompt if message.role != "tool"]
        alternate = all(a.role != b.role or a.calls for a, b in itertools.pairwise(sides))
        apart = prompt[0].content == APART
        asked = roles[-1] in ("user", "tool") and alternate
        if roles[0] != "system" or not (apart or asked):
            yield f"a prompt with the roles {roles}"


def _story(phone: Phone) -> list[str]:
    """The log of the call, sound left out."""
    quiet = ("response.output_audio.delta", "onebreath.denoise.step")
    keys = ("transcript", "delta", "text", "code", "message", "heard_ms", "speculation", "status")
    lines = []
    for when, event in phone.log:
        if event["type"] in quiet:
            continue
        fields = {**event, **event.get("error", {}), **event.get("response", {})}
        shown = {key: fields[key] for key in keys if fields.get(key) not in (None, "")}
        lines.append(f"{when:8.3f}  {event['type']}  {shown or ''}".rstrip())
    return lines
