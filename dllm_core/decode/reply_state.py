"""A reply under way: canvas after canvas until its end, its longest length or its deadline."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

from torch import Tensor

from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.decode.canvas import Canvas, CanvasView
from dllm_core.decode.denoise import Denoiser, Forward
from dllm_core.decode.diffusion import Diffusion
from dllm_core.decode.draft_economy import TYPICAL, DraftCosts
from dllm_core.decode.drafting import Drafting
from dllm_core.decode.fixed_point import FixedPoint
from dllm_core.decode.reply_steps import ReplySteps
from dllm_core.decode.schedule import Clock, CostModel, Deadline
from dllm_core.decode.stats import DenoiseStep, PrefillStats
from dllm_core.draft.counted import AnyDrafter
from dllm_core.model.cache import KeyValues, PromptCache
from dllm_core.model.tokenizer import Tokenizer


class ReplyState:
    """The denoiser of a whole reply; it plans and absorbs for the present canvas.

    Under a deadline every canvas gets its share of the time, and a canvas is begun only if a
    step still fits. A rule that cannot commit all open positions in its last step (the fixed
    point; any rule, of a model that was not taught to denoise) ends there.

    Args:
        config: the model's configuration.
        tokenizer: decodes the reply.
        ids: token ids of the prompt.
        cache: the sequence's cache, which has been read up to where the rule begins
            (`Engine.read`).
        options: how to denoise.
        prefill: cost of reading the prompt.
        cost: cost model of a step, corrected by every step that is run.
        read: puts a longer prompt into the cache, after a canvas of some layers only.
        drafter: drafts under the rule `draft`; without one that goes token by token.
        draft_costs: cost of the drafter and of the passes that check drafts.
        clock: monotonic seconds.

    Attributes:
        done: whether the last step has been absorbed.
        steps: finished steps that have not been fetched, oldest first.
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Tokenizer,
        ids: Sequence[int],
        cache: PromptCache,
        options: DecodeOptions,
        prefill: PrefillStats,
        cost: CostModel,
        *,
        read: Callable[[Sequence[int]], object] | None = None,
        drafter: AnyDrafter | None = None,
        draft_costs: DraftCosts = TYPICAL,
        clock: Clock = perf_counter,
    ) -> None:
        self.done = False
        self.steps: deque[DenoiseStep] = deque()
        self._config, self._ids = config, ids
        self._cache, self._options, self._cost = cache, options, cost
        self._telling = ReplySteps(config, tokenizer, options.max_tokens, cache, prefill, clock)
        self._before = CanvasView((), (), ())
        self._clock, self._read = clock, read
        self._drafter, self._draft_costs, self._words = drafter, draft_costs, tokenizer
        self._mark = begin = clock()
        self._deadline: Deadline | None = None
        if options.deadline_ms is not None:
            self._deadline = Deadline(begin + options.deadline_ms / 1e3, cost, clock)
        left_to_right = options.rule in ("fixed_point", "draft")
        self._paced = not left_to_right and config.mask_id is not None
        self._denoiser = self._next_canvas()
        self._forward: Forward | None = None

    @property
    def planned(self) -> int | None:
        """Number of steps of the present canvas, or None where the rule decides on the way."""
        return self._denoiser.planned

    def final(self) -> list[int]:
        """Ids from the left that will not change any more."""
        return [*self._before.ids, *self._denoiser.final()]

    def view(self) -> CanvasView:
        return self._before + self._denoiser.view()

    def plan(self) -> Forward:
        self._mark = self._clock()
        self._forward = self._denoiser.plan()
        return self._forward

    def absorb(self, logits: Tensor) -> None:
        assert self._forward is not None, "plan the pass first"
        self._denoiser.absorb(logits)
        self._cost.observe(*self._forward.shape, (self._clock() - self._mark) * 1e3)
        view, final, planned = self.view(), self.final(), self.planned
        self.done = self._over(whole=self._telling.is_whole(final))
        drafting = self.drafting
        if self.done and drafting is not None and self._options.rounds is not None:
            drafting.conclude()
            view, final = self.view(), self.final()
        ms = (self._clock() - self._mark) * 1e3
        step = self._telling.tell(view, final, over=self.done, planned=planned, ms=ms)
        self.steps.append(step if drafting is None else _with_round(step, drafting))

    def _over(self, *, whole: bool) -> bool:
        """Whether the step just absorbed was the last one; if not, begins the next canvas."""
        if not self._denoiser.done:
            return self._deadline is not None and not self._paced and not self._in_time()
        view = self.view()
        if whole or any(view.masked):
            return True
        self._before = view
        self._denoiser = self._next_canvas()
        return self._deadline is not None and not self._in_time()

    @property
    def drafting(self) -> Drafting | None:
        """The denoiser under the rule `draft`."""
        return self._denoiser if isinstance(self._denoiser, Drafting) else None

    def _in_time(self) -> bool:
        """Whether the next step fits before the deadline."""
        assert self._deadline is not None
        return self._deadline.fitting(*self._denoiser.plan().shape) > 0

    def _starts_word(self, token: int) -> bool:
        """Whether a reply may be cut before this token."""
        return not self._words.piece(token)[:1].isalnum()

    def _next_canvas(self) -> Denoiser:
        config, options, cache = self._config, self._options, self._cache
        ids, room = [*self._ids, *self._before.ids], options.max_tokens - len(self._before.ids)
        if options.rule == "fixed_point":
            return FixedPoint(config, cache, ids[-1], options.canvas_length, room, options.banned)
        if options.rule == "draft":
            return Drafting(
                config, cache, ids[-1], options, room, drafter=self._drafter,
                costs=self._draft_costs, starts_word=self._starts_word,
            )  # fmt: skip
        if not self._before.ids:
            options = options.for_first_canvas()
        elif options.canvas_layers is not None and self._read is not None:
            self._read(ids)
        end = config.canvas_end(len(ids), options.canvas_length, room, cache.padding)
        length = end - len(ids)
        canvas = Canvas.after(config, ids, length, cache.store.device)
        unconditional, pace = None, None
        if options.guidance:
            unconditional = KeyValues(
                config, cache.store.limit, cache.store.dtype, cache.store.device
            )
            unconditional.reserve(len(canvas), keep=0)
        if self._deadline is not None and self._paced:
            pace = self._deadline.share(min(1.0, length / room))
        return Diffusion(config, canvas, cache, options, pace=pace, unconditional=unconditional)


def _with_round(step: DenoiseStep, drafting: Drafting) -> DenoiseStep:
    """The step with what became of its draft, the last one with the figures of all."""
    stats = step.stats
    if stats is not None:
        stats = replace(stats, drafts=drafting.stats())
    return replace(step, round=drafting.round, stats=stats)
