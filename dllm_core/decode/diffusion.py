"""Masked diffusion: the open positions of a canvas become final under a rule."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.decode import unmask
from dllm_core.decode.canvas import Canvas, CanvasView
from dllm_core.decode.denoise import Forward, resolve_policy
from dllm_core.decode.schedule import Deadline
from dllm_core.model.cache import KeyValues, PromptCache
from dllm_core.model.transformer import Span, visibility


def blocks_between(
    config: ModelConfig, begin: int, end: int, length: int | None
) -> list[tuple[int, int]]:
    """(start, stop) of the blocks of a canvas, which are finished one after another.

    The canvas reaches from position `begin` to before `end`; `length` is that of a block, None
    for a single one. The blocks of a model trained on blocks begin at multiples of its block
    length, counted from the start of the sequence, so the end of a prompt shares the first one.
    """
    size = length or end - begin
    aligned = config.attention == "block_causal" and config.block_length > 1
    if aligned:
        size = config.block_length
    edges = [begin]
    while edges[-1] < end:
        step = size - edges[-1] % size if aligned else size
        edges.append(min(edges[-1] + step, end))
    return list(pairwise(edges))


class Diffusion:
    """Masked-diffusion decoding of a canvas under a rule and a cache policy.

    Every step runs the rows whose keys and values are stale. The cache policy says which:
    `none`: all rows, as LLaDA's generate.
    `prefix`, `dual`: all rows at the first step of a block, then the block with or without the
    rows behind it (Fast-dLLM v1, arXiv 2505.22618).
    `prompt_frozen`: the rows behind the prompt and the finished blocks (FlashDLM's FreeCache,
    arXiv 2505.21467).
    `exact`: the rows behind the finished blocks of a block-causal model, where these can no
    longer change.

    Args:
        config: the model's configuration.
        canvas: the sequence with its open positions.
        cache: the sequence's cache, which holds a beginning of it.
        options: rule, cache policy and sampling.
        pace: deadline of the canvas, which then decides on the number of steps.
        unconditional: keys and values of the second sequence of guidance.
        allowed: bool (length, vocab), the tokens that each position may become; None for all.
        stop_at_eos: whether the canvas is done at a final end-of-reply token.

    Raises:
        OptionError: the cache policy does not suit the model.
    """

    def __init__(
        self,
        config: ModelConfig,
        canvas: Canvas,
        cache: PromptCache,
        options: DecodeOptions,
        *,
        pace: Deadline | None = None,
        unconditional: KeyValues | None = None,
        allowed: Tensor | None = None,
        stop_at_eos: bool = True,
    ) -> None:
        self.config, self.canvas, self.options = config, canvas, options
        self.policy = resolve_policy(config, options.cache)
        self.done = canvas.begin == len(canvas)
        self.planned = options.steps if options.counts_steps and pace is None else None
        self._cache, self._unconditional, self._allowed = cache, unconditional, allowed
        self._pace, self._stop_at_eos = pace, stop_at_eos
        # A block that ends after the deadline would leave others open, so there is only one.
        length = None if pace else options.block_length
        self._blocks = blocks_between(config, canvas.begin, len(canvas), length)
        self._shares = len(self._blocks)
        self._block, self._step, self._fresh = 0, 0, True
        self._valid = len(cache) if self.policy in ("prompt_frozen", "exact") else 0
        cache.crop(self._valid)
        cache.reserve(len(canvas) - self._valid)
        self._confidence = torch.zeros(len(canvas), dtype=torch.float64, device=canvas.ids.device)
        self._generator = torch.Generator().manual_seed(options.seed)
        self._reopenings = len(canvas) - canvas.begin

    def plan(self) -> Forward:
        self._merge_if_last()
        start, stop, visible = self._window()
        begin, end = self._blocks[self._block]
        mask = visibility(self.config, start, stop - start, visible, self.canvas.begin)
        mask = None if mask is None else mask.to(self.canvas.ids.device)
        span = Span(self._cache.store, start, stop - start, visible, mask)
        ids, spans = self.canvas.ids[start:stop], [span]
        shifted = torch.arange(begin, end, device=ids.device) - int(self.config.shift)
        wanted = shifted.clamp_min_(0) - start
        if self._unconditional is not None:
            ids = torch.cat([ids, self.canvas.without_prompt()[start:stop]])
            spans.append(Span(self._unconditional, start, stop - start, visible, mask))
            wanted = torch.cat([wanted, wanted + stop - start])
        layers = self.options.canvas_layers
        return Forward(ids, tuple(spans), wanted, layers)

    def _merge_if_last(self) -> None:
        """Join all blocks that are left when time remains for one step only."""
        if self._pace is None or self._block == len(self._blocks) - 1:
            return
        begin, end = self._blocks[self._block][0], len(self.canvas)
        if self._pace.fitting(end - begin, end) <= 1:
            self._blocks[self._block :] = [(begin, end)]

    def _window(self) -> tuple[int, int, int]:
        """(first row, end of the rows, end of the positions they attend to)."""
        begin, end = self._blocks[self._block]
        start, stop, visible = 0, len(self.canvas), len(self.canvas)
        if self.policy in ("prefix", "dual") and not self._fresh:
            start = begin
            stop = end if self.policy == "dual" else stop
        elif self.policy in ("prompt_frozen", "exact"):
            start = self._valid
        if self.policy == "exact" and self.config.block_length > 1:
            stop = visible = end
        # Shifted logits of a block begin one row before it.
        return (max(0, min(start, begin - 1)) if self.config.shift else start), stop, visible

    def absorb(self, logits: Tensor) -> None:
        if self._unconditional is not None:
            conditional, unconditional = logits.chunk(2)
            logits = unmask.guided(conditional, unconditional, self.options.guidance)
        self._settle()
        self._fresh = False
        self._decide(logits)
        self._step += 1
        begin, end = self._blocks[self._block]
        if self.canvas.open_in(begin, end) == 0:
            self._block, self._step, self._fresh = self._block + 1, 0, True
        self.done = self._block == len(self._blocks) or (self._stop_at_eos and self._ended())
        # Blocks may be left when a step took far longer than expected: then they stay open.
        self.done = self.done or (self._pace is not None and self._pace.over)

    def _settle(self) -> None:
        """Count rows as cached that have just run with final ids on all they attend to."""
        if not self._fresh or self.policy not in ("prompt_frozen", "exact"):
            return
        begin = self._blocks[self._block][0]
        if self.policy == "exact":
            size = self.config.block_length
            begin = self.canvas.begin if size == 1 else begin // size * size
        # A later prompt cannot build on rows that ran through some of the layers only.
        if self.options.canvas_layers is None:
            self._cache.commit(self.canvas.ids[self._valid : begin].tolist())
        self._valid = max(self._valid, begin)

    def _decide(self, logits: Tensor) -> None:
        begin, end = self._blocks[self._block]
        options, canvas = self.options, self.canvas
        if self.config.mask_id is not None:
            logits[:, self.config.mask_id] = -torch.inf
        if self._allowed is not None:
            logits = logits.masked_fill(~self._allowed[begin:end], -torch.inf)
        if options.top_k is not None:
            logits = unmask.best(logits, options.top_k)
        masked = canvas.masked[begin:end]
        ids, sure = self._guess(logits)
        self._confidence[begin:end] = torch.where(masked, sure, self._confidence[begin:end])
        open_positions = int(masked.sum())
        least = self._least(open_positions)
        chosen = self._choose(logits, ids, sure, masked, least)
        last_in_time = self._pace is not None and least >= open_positions
        if options.rule == "remask" and not last_in_time:
            self._reopen(logits, masked)
        canvas.commit(begin, chosen, ids)

    def _guess(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (rows,) predicted for the positions of the block, and their probabilities (rows,)."""
        options = self.options
        if options.temperature == 0.0:
            return unmask.predict(logits)
        ids = unmask.sample(logits, options.temperature, options.top_p, self._generator)
        return ids, unmask.confidences(logits, ids, "probability", self._generator)

    def _choose(
        self, logits: Tensor, ids: Tensor, sure: Tensor, masked: Tensor, least: int
    ) -> Tensor:
        """Positions (rows,) that the rule commits; the `least` surest if it commits fewer."""
        options = self.options
        if options.rule == "sequential":
            return unmask.leftmost(masked, least)
        if options.confidence != "probability":
            sure = unmask.confidences(logits, ids, options.confidence, self._generator)
        sure = self._eos_last(sure, ids, -1.0)
        match options.rule:
            case "entropy_bound":
                entropy = -unmask.confidences(logits, ids, "entropy", self._generator)
                entropy = self._eos_last(entropy, ids, 1.0)
                chosen = unmask.entropy_bounded(entropy, masked, options.entropy_bound)
            case "threshold" | "remask":
                chosen = unmask.above(sure, masked, options.threshold)
            case "factor":
                chosen = unmask.factor(sure, masked, options.factor)
            case "dynamic":
                return unmask.dynamic(sure, masked, options.threshold, least)
            case _:
                return unmask.top(sure, masked, least)
        return chosen if int(chosen.sum()) >= least else unmask.top(sure, masked, least)

    def _least(self, open_positions: int) -> int:
        """Positions to commit now so that the block is complete after the steps it has."""
        options = self.options
        if self._pace is not None:
            start, stop, visible = self._window()
            rows = (stop - start) * (1 if self._unconditional is None else 2)
            left = 1 + self._pace.fitting(rows, visible)
            remaining = self.canvas.open_in(self.canvas.begin, len(self.canvas))
            return unmask.quota(open_positions, left * open_positions // remaining)
        if not options.counts_steps:
            return 1
        if options.timesteps:
            return unmask.timestep_quota(open_positions, self._step, options.steps)
        share = options.steps * (self._block + 1) // self._shares
        share -= options.steps * self._block // self._shares
        return unmask.quota(open_positions, share - self._step)

    def _eos_last(self, value: Tensor, ids: Tensor, sign: float) -> Tensor:
        """Put end-of-reply tokens behind all others, the leftmost first among themselves."""
        if not self.options.eos_last:
            return value
        ends = torch.isin(ids, torch.tensor(self.config.eos_ids, device=ids.device))
        behind = sign * (1e3 + torch.arange(len(ids), device=ids.device, dtype=value.dtype))
        return torch.where(ends, behind, value)

    def _reopen(self, logits: Tensor, masked: Tensor) -> None:
        """Open doubtful positions again, each once on average at most, which bounds the steps."""
        begin, end = self._blocks[self._block]
        ids = self.canvas.ids[begin:end]
        now = unmask.confidences(logits, ids, "probability", self._generator)
        committed = self.canvas.free[begin:end] & ~masked
        low = unmask.doubtful(now, committed, self.options.remask_below, self._reopenings)
        self._reopenings -= int(low.sum())
        self.canvas.reopen(begin, low)

    def _ended(self) -> bool:
        """Whether an end-of-reply token is final and all before it, too."""
        ids = self.final()
        return any(token in self.config.eos_ids for token in ids)

    def final(self) -> list[int]:
        canvas = self.canvas
        open_places = canvas.masked[canvas.begin :].nonzero()
        stop = len(canvas) if len(open_places) == 0 else canvas.begin + int(open_places[0])
        if self.options.rule == "remask" and self._block < len(self._blocks):
            stop = min(stop, self._blocks[self._block][0])
        ids: list[int] = canvas.ids[canvas.begin : stop].tolist()
        return ids

    def view(self) -> CanvasView:
        begin = self.canvas.begin
        return CanvasView(
            tuple(self.canvas.ids[begin:].tolist()),
            tuple(self.canvas.masked[begin:].tolist()),
            tuple(self._confidence[begin:].tolist()),
        )
