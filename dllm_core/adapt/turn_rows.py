"""Training data of the head for ends of turns: words, what they are, and the state behind them.

Whole turns are cut behind each of their words; one pass gives the states of all cuts, for a causal
model's state at a word does not depend on what follows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dllm_core.adapt.distill import spellings
from dllm_core.adapt.held_out import without_held_out
from dllm_core.config import DecodeOptions
from dllm_core.decode.backend import Cache
from dllm_core.engine import Engine
from dllm_core.errors import DataError
from dllm_core.json_lines import read_rows
from dllm_core.model.turn_head import CLASSES, without_marks, word_ids

_CALIBRATING = 5
"""Every fifth example is kept out of the fit, to calibrate and measure it."""
LATER_TURNS = 0.4
"""Share of the turns without a question before them that follow an exchange."""


@dataclass(frozen=True, slots=True)
class TurnExample:
    """Words of a caller, and what they are.

    Attributes:
        words: the words as a recogniser writes them, without the marks at their end.
        kind: one of `CLASSES`.
        before: what was said before, as pairs of role and words; empty at the start of a call.
        cuts: numbers of words before the cuts whose states are examples of `more`, rising.
    """

    words: str
    kind: str
    before: tuple[tuple[str, str], ...] = ()
    cuts: tuple[int, ...] = ()


def read_turn_examples(
    files: Sequence[Path], limit: int | None = None, seed: int = 0
) -> list[TurnExample]:
    """Examples from JSON lines with `text` or `prompt`, and perhaps `kind` and `asked`.

    Rows without a kind are whole turns and are cut, too. What the evaluation asks is left out.
    Where rows have a `reply`, some turns of all files follow such an exchange, as in a call.

    Args:
        limit: rows without a kind that are taken of each file.

    Raises:
        DataError: a kind is not known, or no words are left.
    """
    tables = [[row for _, row in read_rows(file)] for file in files]
    exchanges = [_exchange(row) for rows in tables for row in rows if row.get("reply")]
    found: list[TurnExample] = []
    for rows in tables:
        generator = random.Random(seed)
        asked = {_text(row): row.get("asked", "") for row in rows if "kind" not in row}
        texts = sorted(without_held_out(sorted(asked)))
        generator.shuffle(texts)
        for text in texts[:limit]:
            before = _said_before(asked[text], exchanges, generator)
            found += [_whole(text, before)] if spellings(text) else []
        found += [_given(row) for row in rows if "kind" in row]
    if not found:
        raise DataError("There are no words to learn from: give JSON lines with `text`.")
    return found


def _text(row: dict[str, Any]) -> str:
    return str(row.get("text") or row.get("prompt"))


def _exchange(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return (("user", _text(row)), ("assistant", str(row["reply"])))


def _said_before(
    asked: str, exchanges: Sequence[tuple[tuple[str, str], ...]], generator: random.Random
) -> tuple[tuple[str, str], ...]:
    if asked:
        return (("assistant", asked),)
    later = bool(exchanges) and generator.random() < LATER_TURNS
    return generator.choice(exchanges) if later else ()


def _given(row: dict[str, Any]) -> TurnExample:
    if row["kind"] not in CLASSES:
        raise DataError(f"{row['kind']!r} is none of {', '.join(CLASSES)}.")
    asked = row.get("asked")
    before = (("assistant", str(asked)),) if asked else ()
    return TurnExample(without_marks(row["text"]), row["kind"], before)


def _whole(text: str, before: tuple[tuple[str, str], ...]) -> TurnExample:
    words = without_marks(spellings(text)[-1])
    return TurnExample(words, "whole", before, tuple(range(1, len(words.split()))))


@dataclass(frozen=True, slots=True)
class TurnStates:
    """Hidden states behind words.

    Attributes:
        states: float32 (rows, hidden_size).
        kinds: classes (rows,).
        kept_out: whether a row is kept out of the fit (rows,).
        weights: float32 (rows,); the cuts of one turn weigh as much as the turn.
    """

    states: Tensor
    kinds: Tensor
    kept_out: Tensor
    weights: Tensor


def turn_states(
    engine: Engine,
    examples: Sequence[TurnExample],
    system: str,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> TurnStates:
    """Read the examples and keep the states behind their words.

    Args:
        system: the agent's instructions, which stand before the words in a call.
        tell: told the examples done and all.

    Raises:
        DataError: the model does not read causally, so that there are no such states.
    """
    states, kinds, kept_out, weights = [], [], [], []
    cache = engine.new_cache()
    for number, example in enumerate(examples):
        places = _places(engine, system, example)
        cuts = len(places) - 1
        states.append(_states(engine, cache, system, example, places))
        kinds += [CLASSES.index("more")] * cuts + [CLASSES.index(example.kind)]
        weights += [1 / max(cuts, 1)] * cuts + [1.0]
        kept_out += [number % _CALIBRATING == 0] * len(places)
        tell(number + 1, len(examples))
    return TurnStates(
        torch.cat(states), torch.tensor(kinds), torch.tensor(kept_out), torch.tensor(weights)
    )


def _messages(system: str, example: TurnExample, words: str) -> list[tuple[str, str]]:
    return [("system", system), *example.before, ("user", words)]


def _places(engine: Engine, system: str, example: TurnExample) -> list[int]:
    """Numbers of tokens up to the last word of each cut and of the whole, rising."""
    words = example.words.split()
    found = set()
    whole = _place(engine, _messages(system, example, example.words))
    for cut in example.cuts:
        part = without_marks(" ".join(words[:cut]))
        if part:
            found.add(_place(engine, _messages(system, example, part)))
    return [*sorted(place for place in found if place < whole), whole]


def _place(engine: Engine, messages: Sequence[tuple[str, str]]) -> int:
    return len(word_ids(engine.tokenizer, messages))


def _states(
    engine: Engine, cache: Cache, system: str, example: TurnExample, places: Sequence[int]
) -> Tensor:
    ids = engine.encode_chat(_messages(system, example, example.words))
    _, states = engine.read_with_states(ids, places, cache, DecodeOptions())
    if states is None:
        raise DataError("This model sees what follows a word: it has no head for ends of turns.")
    return states.float().cpu().clone()
