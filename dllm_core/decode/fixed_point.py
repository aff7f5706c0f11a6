"""Fixed-point decoding of checkpoints that were never taught to denoise."""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.denoise import Forward
from dllm_core.decode.unmask import fixed_prefix, predict
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, visibility


class FixedPoint:
    """Jacobi iteration of greedy decoding (arXiv 2305.10427) on a canvas that slides to the right.

    Every step predicts all positions from the last step's predictions; those that no longer
    change leave the canvas on the left, and their keys and values stay in the cache. The result
    is the model's greedy autoregressive sequence.

    Args:
        config: the configuration of an autoregressive model.
        cache: the sequence's cache, which holds the prompt without its last token.
        last: the last token of the prompt.
        length: positions of the canvas.
        max_tokens: longest result.
    """

    planned: int | None = None

    def __init__(
        self, config: ModelConfig, cache: PromptCache, last: int, length: int, max_tokens: int
    ) -> None:
        self.config, self.done = config, False
        self._cache, self._length, self._max_tokens = cache, length, max_tokens
        self._drafts = torch.full((length,), last, device=cache.store.device)
        self._ids: list[int] = []
        self._confidence: list[float] = []
        self._final = 0

    def plan(self) -> Forward:
        self._cache.reserve(self._length)
        start = len(self._cache)
        stop = start + self._length
        mask = visibility(self.config, start, self._length, stop)
        mask = None if mask is None else mask.to(self._drafts.device)
        span = Span(self._cache.store, start, self._length, stop, mask)
        wanted = torch.arange(self._length, device=self._drafts.device)
        return Forward(self._drafts, (span,), wanted)

    def absorb(self, logits: Tensor) -> None:
        predicted, confidence = predict(logits)
        count = int(fixed_prefix(self._drafts[1:], predicted))
        self._cache.commit(self._drafts[:count].tolist())
        self._ids[self._final :] = predicted.tolist()
        self._confidence[self._final :] = confidence.tolist()
        # Guesses keep their place; the free places on the right start from the last guess.
        self._drafts = torch.cat([predicted[count - 1 :], predicted[-1:].expand(count - 1)])
        self._close(self._final + count)

    def _close(self, final: int) -> None:
        """Count `final` ids as final, up to the end-of-reply token or the bound."""
        ends = (i for i in range(self._final, final) if self._ids[i] in self.config.eos_ids)
        self._final = min(next(ends, final - 1) + 1, self._max_tokens)
        self.done = self._final == self._max_tokens or (
            self._ids[self._final - 1] in self.config.eos_ids
        )
        if self.done:
            del self._ids[self._final :], self._confidence[self._final :]

    def final(self) -> list[int]:
        return self._ids[: self._final]

    def view(self) -> CanvasView:
        open_places = len(self._ids) - self._final
        masked = (False,) * self._final + (True,) * open_places
        return CanvasView(tuple(self._ids), masked, tuple(self._confidence))
