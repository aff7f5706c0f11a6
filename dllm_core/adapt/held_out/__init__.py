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


def advice() -> list[str]:
    """Questions for advice, which only drafters are measured on."""
    text = (files(__package__) / "advice.jsonl").read_text(encoding="utf-8")
    return [json.loads(line)["prompt"] for line in text.splitlines()]


@dataclass(frozen=True, slots=True)
class HeldOutConversation:
    """A conversation whose last reply is measured with and without drafts.

    Attributes:
        domain: facts, smalltalk, requests, advice, dialogues, turns or systems.
        turns: what the caller says, turn by turn.
        system: instructions; None for the agent's own.
        answers: accepted answers; a reply that contains one of them is right.
    """

    domain: str
    turns: tuple[str, ...]
    system: str | None = None
    answers: tuple[str, ...] = ()


def conversations(limit: int = 50) -> list[HeldOutConversation]:
    """The conversations that drafters are measured on, at most `limit` of each domain.

    `dialogues` have two turns, `turns` four, `systems` other instructions than the agent's.
    """
    asked = questions()
    by = {kind: [q for q in asked if q.kind == kind][:limit] for kind in KINDS}
    text = (files(__package__) / "systems.txt").read_text(encoding="utf-8")
    systems = text.splitlines()
    found = [
        HeldOutConversation(kind, (q.prompt,), answers=q.answers)
        for kind in ("facts", "smalltalk", "requests")
        for q in by[kind]
    ]
    found += [HeldOutConversation("advice", (prompt,)) for prompt in advice()[:limit]]
    two = [(q.prompt, q.then or "") for q in by["dialogues"]]
    found += [HeldOutConversation("dialogues", pair) for pair in two]
    before = zip(by["smalltalk"], by["facts"], two, strict=False)
    found += [HeldOutConversation("turns", (a.prompt, b.prompt, *pair)) for a, b, pair in before]
    mixed = (by["facts"], by["smalltalk"], by["requests"])
    found += [
        HeldOutConversation("systems", (mixed[i % 3][i // 3].prompt,), systems[i % len(systems)])
        for i in range(min(limit, 3 * min(map(len, mixed))))
    ]
    return found


def plain(text: str) -> str:
    """Lower-case words with single spaces, the same for all spellings of a prompt."""
    return " ".join(re.sub(r"[^\w\s']", " ", text.lower()).split())


def held_out_prompts() -> frozenset[str]:
    """All prompts of the evaluation, second turns included, in plain form."""
    found = [(q.prompt, q.then) for q in questions()] + [(text, None) for text in advice()]
    return frozenset(plain(text) for pair in found for text in pair if text)


def without_held_out(prompts: Iterable[str]) -> list[str]:
    """Prompts that are not part of the evaluation and may be used for training."""
    forbidden = held_out_prompts()
    return [prompt for prompt in prompts if plain(prompt) not in forbidden]
