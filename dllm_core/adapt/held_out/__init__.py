"""Questions of the evaluation, which are kept out of all training data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class HeldOutQuestion:
    """One question, or a dialogue of two turns.

    Attributes:
        kind: facts, requests, smalltalk or dialogues.
        prompt: the first turn.
        answers: accepted answers; a reply that contains one of them is right.
        then: the second turn of a dialogue, whose reply is evaluated.
    """

    kind: str
    prompt: str
    answers: tuple[str, ...] = ()
    then: str | None = None


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
    """Lower-case words with single spaces, the same for all spellings of a prompt."""
    return " ".join(re.sub(r"[^\w\s']", " ", text.lower()).split())


def held_out_prompts() -> frozenset[str]:
    """All prompts of the evaluation, second turns included, in plain form."""
    found = questions()
    return frozenset(plain(t) for q in found for t in (q.prompt, q.then) if t)


def without_held_out(prompts: Iterable[str]) -> list[str]:
    """Prompts that are not part of the evaluation and may be used for training."""
    forbidden = held_out_prompts()
    return [prompt for prompt in prompts if plain(prompt) not in forbidden]
