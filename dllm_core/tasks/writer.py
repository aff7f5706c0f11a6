"""Writers of JSON: they add fixed text behind a prompt, choose between texts and fill slots.

`CachedWriter` serves autoregressive models and computes every token once, behind the cached prompt.
`PlainWriter` serves every model: it denoises a slot between the text before and behind it, and
computes the whole sequence each time; with an autoregressive model it is the plain version of the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from dllm_core.config import DecodeOptions
from dllm_core.decode import branches
from dllm_core.decode.branches import Branch
from dllm_core.decode.denoise import Forward, run
from dllm_core.engine import Engine
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, visibility
from dllm_core.tasks.vocabulary import Vocabulary

Allowed = Callable[[str], Tensor]
"""The text of a slot so far -> bool (vocab,), the tokens that may follow it."""


class Writer(Protocol):
    """Writes one document behind a prompt."""

    def add(self, text: str) -> None:
        """Add fixed text."""

    def choose(self, options: Sequence[str]) -> int:
        """Index of the likeliest text to follow; nothing is added."""

    def slot(self, allowed: Allowed, ends: Tensor, tokens: int, behind: str) -> str:
        """The text that the model writes next; it is not added.

        Args:
            allowed: the tokens that may follow.
            ends: bool (vocab,), the tokens that end the slot; the first one is included.
            tokens: most tokens.
            behind: the fixed text after the slot.
        """


class CachedWriter:
    """Writes token by token behind the cached prompt of an autoregressive model.

    Args:
        engine: the engine.
        vocabulary: its tokens by class.
        prompt: token ids of the prompt, at least one.
        cache: the sequence's cache; tokens behind the prompt are forgotten. `close` leaves the
            prompt in it.
    """

    def __init__(
        self, engine: Engine, vocabulary: Vocabulary, prompt: Sequence[int], cache: PromptCache
    ) -> None:
        self._engine, self._words, self._cache = engine, vocabulary, cache
        self._ids, self._length = list(prompt), len(prompt)
        engine.host.prefill(self._ids[:-1], cache)

    def add(self, text: str) -> None:
        self._ids += self._engine.tokenizer.encode(text)

    def choose(self, options: Sequence[str]) -> int:
        return _likeliest(self._engine, self._words, options, self._score)

    def _score(self, branch: Branch) -> Tensor:
        tail = self._ids[len(self._cache) :]
        (found,) = branches.score(self._engine.model, self._cache, self._ids, [branch])
        # The rows of the tail come first, where the cache goes on.
        self._cache.commit(tail)
        self._cache.crop(len(self._ids) - 1)
        return found

    def slot(self, allowed: Allowed, ends: Tensor, tokens: int, behind: str) -> str:
        text, begin = "", len(self._ids)
        for _ in range(tokens):
            logits = self._next().masked_fill(~allowed(text), -torch.inf)
            token = int(logits.argmax())
            text += self._words.texts[token]
            if bool(ends[token]):
                break
            self._ids.append(token)
        del self._ids[begin:]
        self._cache.crop(min(len(self._cache), len(self._ids) - 1))
        return text

    @torch.inference_mode()
    def _next(self) -> Tensor:
        """Logits (vocab,) of the token after all that is written."""
        cache, engine = self._cache, self._engine
        start, stop = len(cache), len(self._ids)
        cache.reserve(stop - start)
        mask = visibility(engine.config, start, stop - start, stop)
        mask = None if mask is None else mask.to(engine.device)
        span = Span(cache.store, start, stop - start, stop, mask)
        new = torch.tensor(self._ids[start:], device=engine.device)
        wanted = torch.tensor([stop - start - 1], device=engine.device)
        logits = run(engine.model, Forward(new, (span,), wanted))[0]
        cache.commit(self._ids[start:])
        return logits

    def close(self) -> None:
        """Leave the prompt in the cache, without the document."""
        self._engine.host.prefill(self._ids[: self._length], self._cache)


class PlainWriter:
    """Writes with any model by whole sequences: `Engine.fill` and a pass for each choice.

    Args:
        engine: the engine.
        vocabulary: its tokens by class.
        prompt: token ids of the prompt.
        options: those of `Engine.fill`.
    """

    def __init__(
        self,
        engine: Engine,
        vocabulary: Vocabulary,
        prompt: Sequence[int],
        options: DecodeOptions | None = None,
    ) -> None:
        self._engine, self._words, self._options = engine, vocabulary, options
        self._ids = list(prompt)

    def add(self, text: str) -> None:
        self._ids += self._engine.tokenizer.encode(text)

    def choose(self, options: Sequence[str]) -> int:
        return _likeliest(self._engine, self._words, options, self._score)

    def _score(self, branch: Branch) -> Tensor:
        model, cache = self._engine.model, self._engine.contiguous_cache()
        if branches.is_tree(self._engine.config):
            return branches.score(model, cache, self._ids, [branch])[0]
        # A pass for each, for every branch repeats the whole sequence.
        apart = [Branch(branch.known, (answer,), branch.ends) for answer in branch.answers]
        return torch.cat([branches.score(model, cache, self._ids, [each])[0] for each in apart])

    def slot(self, allowed: Allowed, ends: Tensor, tokens: int, behind: str) -> str:
        if branches.is_tree(self._engine.config):
            return self._in_order(allowed, ends, tokens)
        after = self._engine.tokenizer.encode(behind)
        template = [*self._ids, *[None] * tokens, *after]
        table = torch.ones(
            len(template), self._engine.config.vocab_size, dtype=torch.bool,
            device=self._engine.device,
        )  # fmt: skip
        begin = len(self._ids)
        for i in range(tokens):
            # Positions are filled in any order: the text before counts by its least length.
            table[begin + i] = allowed("0" * i)
        ids = self._engine.fill(template, self._options, allowed=table)
        return self._text(ids[begin : begin + tokens])

    def _in_order(self, allowed: Allowed, ends: Tensor, tokens: int) -> str:
        found: list[int] = []
        while len(found) < tokens and not (found and bool(ends[found[-1]])):
            template = [*self._ids, *found, None]
            table = allowed(self._text(found)).expand(len(template), -1)
            found.append(self._engine.fill(template, self._options, allowed=table)[-1])
        return self._text(found)

    def _text(self, ids: Sequence[int]) -> str:
        return "".join(self._words.texts[i] for i in ids)


def _likeliest(
    engine: Engine,
    vocabulary: Vocabulary,
    options: Sequence[str],
    score: Callable[[Branch], Tensor],
) -> int:
    """Index of the likeliest text; one that another begins with must also end there."""
    if len(options) == 1:
        return 0
    ids = tuple(tuple(engine.tokenizer.encode(text)) for text in options)
    nested = any(a is not b and b[: len(a)] == a for a in ids for b in ids)
    ends = vocabulary.stop_ids if nested else ()
    return int(score(Branch((), ids, ends)).argmax())
