"""From the states of a reply's canvases to the steps that a caller of the engine sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Protocol

from dllm_core.cache import PromptCache
from dllm_core.canvas import CanvasView
from dllm_core.config import ModelConfig
from dllm_core.denoise import finished_before
from dllm_core.paged_cache import PagedCache
from dllm_core.reply import ReplyText
from dllm_core.stats import DenoiseStats, DenoiseStep, PrefillStats
from dllm_core.tokenizer import Tokenizer


class Steps(Protocol):
    """The steps of a reply as they are made; `close` cancels the rest."""

    def __iter__(self) -> Iterator[DenoiseStep]: ...

    def __next__(self) -> DenoiseStep: ...

    def close(self) -> None: ...


class ReplySteps:
    """Adds text and cost to each state; `before` is what the canvases so far have become."""

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        max_tokens: int,
        cache: PromptCache | PagedCache,
        prefill: PrefillStats,
    ) -> None:
        self._config, self._tokenizer, self._max_tokens = config, tokenizer, max_tokens
        self._cache, self._prefill = cache, prefill
        self._reply = ReplyText(tokenizer)
        self._begin, self._steps = perf_counter(), 0
        self.before = CanvasView((), (), ())
        self.complete = False
        """Whether the last step has been made."""

    @property
    def room(self) -> int:
        """Tokens that the reply may still have."""
        return self._max_tokens - len(self.before.ids)

    def add(
        self,
        canvas: CanvasView,
        final: Sequence[int],
        *,
        done: bool,
        planned: int | None,
        ms: float,
        forwards: int = 1,
    ) -> DenoiseStep:
        """The step after which the present canvas looks so and has these `final` tokens.

        `done` says that the canvas will not change any more, `ms` what the step took, and
        `forwards` of how many passes it tells.
        """
        mark = perf_counter()
        self._steps += forwards
        ids = [*self.before.ids, *final]
        end = finished_before(ids, self._config.eos_ids)
        ended = end < len(ids)
        text = self._reply.push(ids[len(self._reply.ids) : end])
        view, stats = self.before + canvas, None
        if done and (ended or end >= self._max_tokens):
            rest, ending = self._reply.finish(complete=ended)
            text, view = text + rest, view.first(end)
            total = (perf_counter() - self._begin) * 1e3
            stats = DenoiseStats(
                self._prefill, end + ended, self._steps, total, ending, self._cache.nbytes
            )
        self.complete = stats is not None
        words = self._words(view)
        if done:
            self.before = view
        ms += (perf_counter() - mark) * 1e3
        return DenoiseStep(self._steps, planned, view, words, text, ms, self._prefill, stats)

    def _words(self, view: CanvasView) -> tuple[str, ...]:
        return tuple(
            "" if masked else self._tokenizer.decode([token])
            for token, masked in zip(view.ids, view.masked, strict=True)
        )
