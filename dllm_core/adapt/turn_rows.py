"""Training data of the head for ends of turns: words, what they are, and the state behind them.

Whole turns are cut at random words; one pass over a whole turn gives the states of both, for a
causal model's state at a word does not depend on what follows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
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


@dataclass(frozen=True, slots=True)
class TurnExample:
    """Words of a caller, and what they are.

    Attributes:
        words: the words as a recogniser writes them, without the marks at their end.
        kind: one of `CLASSES`.
        asked: what the agent had said before; empty at the start of a call.
        cut: number of words before the cut whose state is an example of `more`; 0 for none.
    """

    words: str
    kind: str
    asked: str = ""
    cut: int = 0


def read_turn_examples(
    files: Sequence[Path], limit: int | None = None, seed: int = 0
) -> list[TurnExample]:
    """Examples from JSON lines with `text` or `prompt`, and perhaps `kind` and `asked`.

    Rows without a kind are whole turns and are cut at a random word too. What the evaluation
    asks is left out.

    Args:
        limit: rows without a kind that are taken of each file.

    Raises:
        DataError: a kind is not known, or no words are left.
    """
    found: list[TurnExample] = []
    for file in files:
        generator = random.Random(seed)
        rows = [row for _, row in read_rows(file)]
        plain = {str(row.get("text") or row.get("prompt")) for row in rows if "kind" not in row}
        texts = sorted(without_held_out(sorted(plain)))
        generator.shuffle(texts)
        found += [_whole(text, generator) for text in texts[:limit] if spellings(text)]
        found += [_given(row) for row in rows if "kind" in row]
    if not found:
        raise DataError("There are no words to learn from: give JSON lines with `text`.")
    return found


def _given(row: dict[str, Any]) -> TurnExample:
    if row["kind"] not in CLASSES:
        raise DataError(f"{row['kind']!r} is none of {', '.join(CLASSES)}.")
    return TurnExample(without_marks(row["text"]), row["kind"], row.get("asked", ""))


def _whole(text: str, generator: random.Random) -> TurnExample:
    words = without_marks(spellings(text)[-1])
    count = len(words.split())
    cut = generator.randrange(max(1, count // 3), count) if count >= 3 else 0
    return TurnExample(words, "whole", "", cut)


@dataclass(frozen=True, slots=True)
class TurnStates:
    """Hidden states (rows, hidden_size), classes (rows,) and what is kept out of the fit."""

    states: Tensor
    kinds: Tensor
    kept_out: Tensor
    words: tuple[str, ...]


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
    rows: list[tuple[Tensor, str, str, bool]] = []
    with_cache = engine.new_cache()
    for number, example in enumerate(examples):
        kept_out = number % _CALIBRATING == 0
        for words, kind in _cuts(example):
            state = _state(engine, with_cache, system, example.asked, words)
            rows.append((state, words, kind, kept_out))
        tell(number + 1, len(examples))
    return TurnStates(
        torch.stack([row[0] for row in rows]),
        torch.tensor([CLASSES.index(row[2]) for row in rows]),
        torch.tensor([row[3] for row in rows]),
        tuple(row[1] for row in rows),
    )


def _cuts(example: TurnExample) -> Iterator[tuple[str, str]]:
    # The cut first: the words that follow are then read on from there.
    if example.cut:
        yield without_marks(" ".join(example.words.split()[: example.cut])), "more"
    yield example.words, example.kind


def _state(engine: Engine, cache: Cache, system: str, asked: str, words: str) -> Tensor:
    before = [("assistant", asked)] if asked else []
    messages = [("system", system), *before, ("user", words)]
    place = len(word_ids(engine.tokenizer, messages))
    options = DecodeOptions()
    _, state = engine.read_with_state(engine.encode_chat(messages), place, cache, options)
    if state is None:
        raise DataError("This model sees what follows a word: it has no head for ends of turns.")
    return state.float().cpu().clone()
