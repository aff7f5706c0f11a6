"""What the evaluation asks; none of it may be trained on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class HeldOutQuestion:
    """One thing to reply to."""

    kind: str
    """facts, requests, smalltalk or dialogues."""
    prompt: str
    answers: tuple[str, ...] = ()
    """Accepted answers: a reply that contains one of them is right."""
    then: str | None = None
    """The caller's second turn, which is the one to reply to."""


KINDS = ("facts", "requests", "smalltalk", "dialogues")


def questions(limit: int | None = None) -> list[HeldOutQuestion]:
    """All held-out questions, or the first `limit` of each kind."""
    found = []
    for kind in KINDS:
        text = (files(__package__) / f"{kind}.jsonl").read_text(encoding="utf-8")
        for line in text.splitlines()[:limit]:
            row = json.loads(line)
            found.append(
                HeldOutQuestion(kind, row["prompt"], tuple(row.get("answers", ())), row.get("then"))
            )
    return found


def plain(text: str) -> str:
    """Lower-case words with single spaces: what two spellings of a prompt have in common."""
    return " ".join(re.sub(r"[^\w\s']", " ", text.lower()).split())


def held_out_prompts() -> frozenset[str]:
    """Every prompt of the evaluation, second turns included, in plain form."""
    found = questions()
    return frozenset(plain(t) for q in found for t in (q.prompt, q.then) if t)


def without_held_out(prompts: Iterable[str]) -> list[str]:
    """The prompts that may be trained on."""
    forbidden = held_out_prompts()
    return [prompt for prompt in prompts if plain(prompt) not in forbidden]
