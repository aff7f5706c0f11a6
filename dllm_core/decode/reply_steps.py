"""Builds the steps that the engine yields from the states of a reply's canvases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Protocol

from dllm_core.config import ModelConfig
from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.denoise import finished_before
from dllm_core.decode.reply_text import ReplyDetokenizer
from dllm_core.decode.schedule import Clock
from dllm_core.decode.stats import DenoiseStats, DenoiseStep, PrefillStats
from dllm_core.model.cache import PromptCache
from dllm_core.model.paged_cache import PagedCache
from dllm_core.model.tokenizer import Tokenizer


class Steps(Protocol):
    """Iterator over the steps of a reply; `close` cancels the reply."""

    def __iter__(self) -> Iterator[DenoiseStep]: ...

    def __next__(self) -> DenoiseStep: ...

    def close(self) -> None: ...


class ReplySteps:
    """Adds text and cost to each state of a reply.

    Args:
        config: the model's configuration, which has the end-of-reply tokens.
        tokenizer: decodes the reply.
        max_tokens: longest reply, in tokens.
        cache: the sequence's cache, whose memory is counted.
        prefill: cost of reading the prompt.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        max_tokens: int,
        cache: PromptCache | PagedCache,
        prefill: PrefillStats,
        clock: Clock = perf_counter,
    ) -> None:
        self._eos_ids, self._tokenizer, self._max_tokens = config.eos_ids, tokenizer, max_tokens
        self._cache, self._prefill, self._clock = cache, prefill, clock
        self._reply = ReplyDetokenizer(tokenizer)
        self._begin, self._steps = clock(), 0

    def is_whole(self, final: Sequence[int]) -> bool:
        """Whether a reply with these final tokens has its end, or its longest length."""
        end = finished_before(final, self._eos_ids)
        return end < len(final) or end >= self._max_tokens

    def tell(
        self,
        view: CanvasView,
        final: Sequence[int],
        *,
        over: bool,
        planned: int | None,
        ms: float,
        forwards: int = 1,
    ) -> DenoiseStep:
        """The step that leads to this state.

        Args:
            view: all positions of the reply so far.
            final: the tokens from the left that are final.
            over: whether this is the last step.
            planned: planned number of steps, or None.
            ms: milliseconds that the step took so far; making the text is added.
            forwards: forward passes that the step stands for.
        """
        mark = self._clock()
        self._steps += forwards
        # The last block of a model with blocks may reach beyond the longest reply.
        view, final = view.first(self._max_tokens), final[: self._max_tokens]
        end = finished_before(final, self._eos_ids)
        ended, stats = end < len(final), None
        text = self._reply.push(final[len(self._reply.ids) : end])
        if over:
            rest, ending = self._reply.finish(complete=ended)
            text, view = text + rest, view.first(end)
            total = (self._clock() - self._begin) * 1e3
            stats = DenoiseStats(
                self._prefill, end + ended, self._steps, total, ending, self._cache.nbytes
            )
        words = tuple(
            "" if masked else self._tokenizer.piece(token)
            for token, masked in zip(view.ids, view.masked, strict=True)
        )
        ms += (self._clock() - mark) * 1e3
        return DenoiseStep(self._steps, planned, view, words, text, ms, self._prefill, stats)
