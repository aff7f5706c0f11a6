"""Canvas of one sequence on the device: the host's state between two rounds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from dllm_core.config import DecodeOptions
from dllm_core.decode.blocks import blocks_between
from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.denoise import finished_before
from dllm_core.gpu.device_round import (
    OPEN,
    Outcome,
    RoundEntry,
    RoundOptions,
    keeps_lead,
    runs_lead,
)
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.model.cache import reusable
from dllm_core.model.paged_cache import PagedCache
from dllm_core.model.pages import pages_for
from dllm_core.ops import PAGE


def round_options_of(options: DecodeOptions) -> RoundOptions:
    """Options that a reply shares with all sequences of its rounds."""
    threshold = options.threshold if options.rule == "threshold" else None
    return RoundOptions(threshold, options.eos_last, options.canvas_layers, options.banned)


class CanvasJob:
    """`length` open positions after `ids`, denoised round by round as by `diffusion.Diffusion`.

    `prepare` reads the tokens before the canvas into the cache, `entry` makes the input of the next
    round, `absorb` takes over its results.
    """

    def __init__(
        self,
        model: PagedModel,
        cache: PagedCache,
        ids: Sequence[int],
        length: int,
        options: DecodeOptions,
        *,
        follows: bool = False,
    ) -> None:
        """Make a canvas; with `follows` an earlier canvas of the same reply ends with `ids`."""
        self._model, self.cache, self.options = model, cache, options
        self.config, self.round_options = model.config, round_options_of(options)
        assert self.config.mask_id is not None
        self._begin, self._end = len(ids), len(ids) + length
        self._ids = [*ids, *[self.config.mask_id] * length]
        self._confidence = [0.0] * length
        self._open = [True] * length
        self._follows = follows
        self._blocks = blocks_between(self.config, self._begin, self._end, None)
        self._block, self._taken = 0, 0
        self._shares = _shares(options.steps, len(self._blocks))
        self._lead: Tensor | None = None
        self.done = False

    @property
    def columns(self) -> int:
        """Positions of a round's canvas that this one takes."""
        size = self.config.block_length
        return size if self._by_blocks and size > 1 else self._end - self._begin

    @property
    def _by_blocks(self) -> bool:
        return self.config.attention == "block_causal"

    @property
    def steps_left(self) -> int | None:
        """Steps until the current block is complete; None if the rule decides on the way."""
        if self.round_options.threshold is not None:
            return None
        return max(1, self._shares[self._block] - self._taken)

    @property
    def blocks_left(self) -> int:
        """Number of blocks that are not complete."""
        return len(self._blocks) - self._block

    def pace(self, steps: int) -> None:
        """Complete the current block in `steps` steps from now."""
        self._shares[self._block] = self._taken + steps

    @property
    def _start(self) -> int:
        """The first position of the round's canvas: a block may begin within the prompt."""
        begin = self._blocks[self._block][0]
        return begin // self.config.block_length * self.config.block_length

    @torch.inference_mode()
    def prepare(self) -> None:
        """Read all tokens before the canvas that are final.

        Raises:
            PromptTooLongError, PagesFullError: see PagedCache.reserve.
        """
        if self._taken:
            return
        if self._by_blocks:
            self._prepare_block()
        else:
            self._prepare_canvas()
        stop = self._blocks[self._block][1] if self._by_blocks else self._end
        self.cache.reserve(stop - len(self.cache))

    def _prepare_block(self) -> None:
        start, size = self._start, self.config.block_length
        needs_lead = keeps_lead(self.config) and start == self._blocks[self._block][0]
        partly = needs_lead and self.round_options.layers is not None
        if not partly:
            read(self._model, self.cache, self._ids[:start], lead=needs_lead)
            self._lead = self.cache.lead if needs_lead else None
            return
        # Run through the canvas's layers only, the last tokens are no longer the prompt's own.
        kept = max(0, start - size)
        read(self._model, self.cache, self._ids[:kept], lead=False)
        last = self._ids[kept:start]
        self._lead = self._model.read(self.cache, last, layers=self.round_options.layers)[-1]

    def _prepare_canvas(self) -> None:
        own = self._begin - runs_lead(self.config)
        if not self._follows:
            read(self._model, self.cache, self._ids[:own], lead=False)
        elif len(self.cache) < self._begin:
            # As Diffusion does: the canvas before is frozen when it has seen the masks of this one.
            known = len(self.cache)
            self._model.read(self.cache, self._ids[known:])
            partly = self.round_options.layers is not None
            self.cache.commit(self._ids[known : own if partly else self._begin])

    def entry(self) -> RoundEntry:
        """Input of the next round."""
        begin, end = self._blocks[self._block]
        start, given = self._start, self._ids
        shown = [-1 - token for token in given[start:begin]] + given[begin:end]
        shift = int(runs_lead(self.config))
        return RoundEntry(
            pages=self.cache.pages[: pages_for(end, PAGE)],
            length=start - shift,
            visible=end,
            ids=shown,
            masked=[False] * (begin - start) + self._open[begin - self._begin : end - self._begin],
            share=self._shares[self._block],
            taken=self._taken,
            lead_id=given[start - 1] if shift else 0,
            lead=self._lead,
        )

    def absorb(self, outcome: Outcome) -> list[CanvasView]:
        """Take over the results of a round; returns the canvas after each of its steps."""
        begin = self._blocks[self._block][0]
        first, offset = begin - self._start, begin - self._begin
        views = []
        for ids, confidence in outcome.steps:
            self._take(offset, ids[first:], confidence[first:])
            views.append(self.view())
        self._taken += len(outcome.steps)
        if runs_lead(self.config) and self.round_options.layers is None:
            self._keep_last_prompt_token()
        if not outcome.live:
            self._block, self._taken = self._block + 1, 0
            self.done = self._block == len(self._blocks) or self._ended()
        return views

    def _take(self, offset: int, ids: Sequence[int], confidence: Sequence[float]) -> None:
        for i, (token, sure) in enumerate(zip(ids, confidence, strict=True), offset):
            if not self._open[i]:
                continue
            self._confidence[i] = sure
            if token != OPEN:
                self._ids[self._begin + i], self._open[i] = token, False

    def _keep_last_prompt_token(self) -> None:
        """Commit the last token of the prompt, which has run with the canvas."""
        if len(self.cache) == self._begin - 1:
            self.cache.commit(self._ids[self._begin - 1 : self._begin])

    def _ended(self) -> bool:
        final = self.final()
        return finished_before(final, self.config.eos_ids) < len(final)

    def final(self) -> list[int]:
        """Ids from the left, up to the first open position; they will not change any more."""
        stop = next((i for i, is_open in enumerate(self._open) if is_open), len(self._open))
        return self._ids[self._begin : self._begin + stop]

    def view(self) -> CanvasView:
        """The canvas as it is now."""
        return CanvasView(
            tuple(self._ids[self._begin :]), tuple(self._open), tuple(self._confidence)
        )


def _shares(steps: int, blocks: int) -> list[int]:
    """Number of steps for each block; they add up to `steps`."""
    return [
        stop - start for start, stop in pairwise(steps * i // blocks for i in range(blocks + 1))
    ]


def read(model: PagedModel, cache: PagedCache, ids: Sequence[int], *, lead: bool) -> int:
    """Make the cache hold exactly `ids`, computing only those after the longest shared prefix.

    `ids` are whole blocks for a model that has blocks. With `lead`, the hidden state of the last id
    is computed even if its keys and values are cached. Returns the number of tokens that were
    cached before.

    Raises:
        PromptTooLongError, PagesFullError: see PagedCache.reserve.
    """
    size = model.config.block_length
    shared = reusable(model.config, cache.ids, cache.whole, ids)
    if lead and shared == len(ids) and (cache.lead is None or len(cache) > shared):
        shared = max(0, shared - size)
    cache.crop(shared)
    new = list(ids[shared:])
    if new:
        hidden = model.read(cache, new)
        cache.commit(new, hidden[-1].clone())
        cache.whole = len(ids)
    return shared
