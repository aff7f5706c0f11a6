"""Writing a JSON document of a schema: the scaffold's slots are denoised in their places."""

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
    """Fills scaffolds with one engine; the tokens of each kind of slot are found once."""

    def __init__(self, engine: Engine, options: DecodeOptions | None = None) -> None:
        """`options` are those of Engine.fill."""
        self._engine, self._options = engine, options
        self._allowed = {kind: self._tokens(kind) for kind in PATTERNS}

    def _tokens(self, kind: Kind) -> Tensor:
        """Boolean (vocab,): the tokens that decode to what a slot of this kind may hold."""
        words, size = self._engine.tokenizer, self._engine.config.vocab_size
        known = range(min(size, words.vocab_size))
        fits = [bool(PATTERNS[kind].fullmatch(words.decode([i]))) for i in known]
        if not any(fits):
            raise OptionError(f"No token of this model is made of {kind} only.")
        return torch.tensor(fits + [False] * (size - len(fits)), device=self._engine.device)

    def fill(self, prompt: Sequence[int], schema: Mapping[str, Any]) -> Any:
        """A document of `schema` that answers `prompt`, slot by slot from left to right.

        Raises:
            OptionError: the schema uses a keyword that could not be guaranteed.
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
        """Mean log-probability of a written-out value after what stands before it."""
        return self._engine.score(before, self._engine.tokenizer.encode(text))
