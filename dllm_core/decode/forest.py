"""Texts that are read once, each of which a later text may follow: a fixed tree of cached rows.

Scoring one text behind all of them takes a single pass over that text's rows, whatever the length
of the texts before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from dllm_core.decode import branches
from dllm_core.decode.branches import Branch, Rows
from dllm_core.decode.denoise import Forward, run
from dllm_core.errors import OptionError, PromptTooLongError
from dllm_core.model.cache import KeyValues, PromptCache
from dllm_core.model.transformer import Span, Transformer


class Beginnings(Protocol):
    """Texts that a later one may follow."""

    def score(self, ids: Sequence[int]) -> Tensor:
        """Log-probability, in nats, of `ids` behind each of the texts: float64 (texts,).

        Raises:
            OptionError: `ids` are empty.
            PromptTooLongError: the rows do not fit the context.
        """


def beginnings(
    model: Transformer, context: int, texts: Sequence[Sequence[int]], *, plain: bool = False
) -> Beginnings:
    """Read texts (token ids, at least one each) to score others behind them.

    Models that are not autoregressive, and the plain version, read them anew each time.

    Raises:
        PromptTooLongError: the rows of all texts do not fit the context.
    """
    if plain or not branches.is_tree(model.config):
        return _Anew(model, context, texts)
    return Forest(model, context, texts)


class _Anew:
    """Reads texts and what follows them in a pass for each."""

    def __init__(self, model: Transformer, context: int, texts: Sequence[Sequence[int]]) -> None:
        self._model, self._context, self._texts = model, context, texts

    def score(self, ids: Sequence[int]) -> Tensor:
        _check(ids)
        found = []
        for text in self._texts:
            embedding = self._model.embedding
            store = KeyValues(self._model.config, self._context, embedding.dtype, embedding.device)
            branch = Branch(tuple(text), (tuple(ids),))
            found += branches.score(self._model, PromptCache(store), [], [branch])
        return torch.cat(found)


class Forest:
    """The texts as rows of one tree, their keys and values kept; texts that begin alike share rows.

    The last token of each text runs with what follows, for it predicts the first token there.

    Args:
        model: an autoregressive transformer.
        context: most rows, those of a pass included.
        texts: token ids of each text, at least one.

    Raises:
        PromptTooLongError: the rows of all texts do not fit the context.
    """

    def __init__(self, model: Transformer, context: int, texts: Sequence[Sequence[int]]) -> None:
        self._model = model
        embedding = model.embedding
        self._store = KeyValues(model.config, context, embedding.dtype, embedding.device)
        self._rows, self._leaves = Rows(), list[tuple[int, int]]()
        nodes: dict[tuple[int, int], int] = {}
        for text in texts:
            at = -1
            for token in text[:-1]:
                at = self._rows.follow(nodes, at, token, 0)
            self._leaves.append((at, text[-1]))
        self._kept = len(self._rows.tokens)
        if self._kept:
            self._run(self._rows, 0, [0])

    def _run(self, rows: Rows, start: int, wanted: Sequence[int]) -> Tensor:
        """Logits of wanted rows, counted from row `start`, the first that runs."""
        count, device = len(rows.tokens) - start, self._store.device
        if len(rows.tokens) > self._store.limit:
            raise PromptTooLongError(
                f"{len(rows.tokens)} tokens to choose between do not fit the context of "
                f"{self._store.limit}: use fewer or shorter ones, or load a larger context."
            )
        self._store.reserve(start + count, keep=start)
        span = Span(
            self._store, start, count, start + count,
            rows.mask(0, 0)[start:].to(device),
            torch.tensor(rows.positions[start:], device=device),
        )  # fmt: skip
        ids = torch.tensor(rows.tokens[start:], device=device)
        with torch.inference_mode():
            return run(self._model, Forward(ids, (span,), torch.tensor(wanted, device=device)))

    def score(self, ids: Sequence[int]) -> Tensor:
        _check(ids)
        rows, nodes = self._rows.copy(), dict[tuple[int, int], int]()
        wanted: list[int] = []
        for parent, last in self._leaves:
            at = parent
            for token in (last, *ids[:-1]):
                at = rows.follow(nodes, at, token, 0)
                wanted.append(at - self._kept)
        logits = self._run(rows, self._kept, wanted).log_softmax(-1).double()
        tokens = torch.tensor(ids, device=logits.device).repeat(len(self._leaves))
        found = logits.gather(-1, tokens[:, None]).view(len(self._leaves), len(ids))
        return found.sum(-1).cpu()


def _check(ids: Sequence[int]) -> None:
    if not ids:
        raise OptionError("There is no text to score.")
