"""Writes a JSON document of a schema: the slots of its scaffold are denoised in place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dllm_core.config import DecodeOptions
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.tasks.scaffold import PATTERNS, Choice, Kind, Part, Slot, document, scaffold, value


class JsonFiller:
    """Fills scaffolds with one engine; the tokens of each kind of slot are found once.

    Args:
        engine: the engine; a model taught to denoise sees the text behind a slot.
        options: those of `Engine.fill`.

    Raises:
        OptionError: no token of the model fits a kind of slot.
    """

    def __init__(self, engine: Engine, options: DecodeOptions | None = None) -> None:
        self._engine, self._options = engine, options
        self._allowed = {kind: self._tokens(kind) for kind in PATTERNS}

    def _tokens(self, kind: Kind) -> Tensor:
        """Bool (vocab,): the tokens whose text fits a slot of this kind."""
        words, size = self._engine.tokenizer, self._engine.config.vocab_size
        known = range(min(size, words.vocab_size))
        fits = [bool(PATTERNS[kind].fullmatch(words.decode([i]))) for i in known]
        if not any(fits):
            raise OptionError(f"No token of this model is made of {kind} only.")
        return torch.tensor(fits + [False] * (size - len(fits)), device=self._engine.device)

    def fill(self, prompt: Sequence[int], schema: Mapping[str, Any]) -> Any:
        """A document of `schema` that answers `prompt`, slot by slot from left to right.

        Raises:
            OptionError: the schema uses a keyword that cannot be guaranteed.
        """
        done: list[str] = []
        parts = scaffold(schema)
        for i, part in enumerate(parts):
            if not isinstance(part, str):
                part = self._decide(prompt, done, part, parts[i + 1 :])
            done.append(part)
        return document(done)

    def _decide(
        self, prompt: Sequence[int], done: Sequence[str], part: Slot | Choice, later: Sequence[Part]
    ) -> str:
        before = [*prompt, *self._engine.tokenizer.encode("".join(done))]
        if isinstance(part, Choice):
            return max(map(json.dumps, part.values), key=lambda text: self._score(before, text))
        rest = "".join(p for p in later if isinstance(p, str))
        after = self._engine.tokenizer.encode(rest)
        template = [*before, *[None] * part.tokens, *after]
        allowed = self._allowed[part.kind].expand(len(template), -1)
        ids = self._engine.fill(template, self._options, allowed=allowed)
        found = ids[len(before) : len(before) + part.tokens]
        return value(part, self._engine.tokenizer.decode(found))

    def _score(self, before: Sequence[int], text: str) -> float:
        """Mean log-probability of the tokens of a value after the tokens `before` it."""
        return self._engine.score(before, self._engine.tokenizer.encode(text))
