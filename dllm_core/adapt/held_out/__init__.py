"""What the evaluation asks; none of it may be trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to reply to."""

    kind: str
    """facts, requests, smalltalk or dialogues."""
    prompt: str
    answers: tuple[str, ...] = ()
    """Accepted answers: a reply that contains one of them is right."""
    then: str | None = None
    """The caller's second turn, which is the one to reply to."""


KINDS = ("facts", "requests", "smalltalk", "dialogues")


def questions(limit: int | None = None) -> list[Question]:
    """All held-out questions, or the first `limit` of each kind."""
    found = []
    for kind in KINDS:
        text = (files(__package__) / f"{kind}.jsonl").read_text(encoding="utf-8")
        for line in text.splitlines()[:limit]:
            row = json.loads(line)
            found.append(
                Question(kind, row["prompt"], tuple(row.get("answers", ())), row.get("then"))
            )
    return found


def advice() -> list[str]:
    """Questions for advice, which only drafters are measured on."""
    text = (files(__package__) / "advice.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["prompt"] for line in text.splitlines()]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of a caller; the reply to the last one is measured."""

    domain: str
    turns: tuple[str, ...]
    system: str | None = None
    """None: the agent's own instructions."""
    answers: tuple[str, ...] = ()


DOMAINS = ("facts", "smalltalk", "requests", "advice", "dialogues", "turns", "systems")


def conversations(limit: int = 50) -> list[Conversation]:
    """What drafters are measured on: at most `limit` of each domain, the same ones every time.

    `dialogues` have two turns, `turns` four, `systems` other instructions than the agent's.
    """
    asked = questions()
    by = {kind: [q for q in asked if q.kind == kind][:limit] for kind in KINDS}
    text = (files(__package__) / "systems.txt").read_text(encoding="utf-8")
    systems = text.splitlines()
    found = [
        Conversation(kind, (q.prompt,), answers=q.answers)
        for kind in ("facts", "smalltalk", "requests")
        for q in by[kind]
    ]
    found += [Conversation("advice", (prompt,)) for prompt in advice()[:limit]]
    two = [(q.prompt, q.then or "") for q in by["dialogues"]]
    found += [Conversation("dialogues", pair) for pair in two]
    before = zip(by["smalltalk"], by["facts"], two, strict=False)
    found += [Conversation("turns", (a.prompt, b.prompt, *pair)) for a, b, pair in before]
    mixed = (by["facts"], by["smalltalk"], by["requests"])
    found += [
        Conversation("systems", (mixed[i % 3][i // 3].prompt,), systems[i % len(systems)])
        for i in range(min(limit, 3 * min(map(len, mixed))))
    ]
    return found


def plain(text: str) -> str:
    """Lower-case words with single spaces: what two spellings of a prompt have in common."""
    return " ".join(re.sub(r"[^\w\s']", " ", text.lower()).split())


def held_out_prompts() -> frozenset[str]:
    """Every prompt of the evaluation, second turns included, in plain form."""
    found = [(q.prompt, q.then) for q in questions()] + [(text, None) for text in advice()]
    return frozenset(plain(text) for pair in found for text in pair if text)


def without_held_out(prompts: Iterable[str]) -> list[str]:
    """The prompts that may be trained on."""
    forbidden = held_out_prompts()
    return [prompt for prompt in prompts if plain(prompt) not in forbidden]
