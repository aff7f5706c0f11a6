"""The back end of a CPU: replies under way share their steps."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from threading import Lock
from time import monotonic, perf_counter

import torch
from torch import Tensor

from dllm_core.config import DecodeOptions
from dllm_core.decode.backend import Cache
from dllm_core.decode.batch import Batch
from dllm_core.decode.calibrate import draft_costs, measured_cost
from dllm_core.decode.denoise import Denoiser, resolve_policy
from dllm_core.decode.draft_economy import TYPICAL
from dllm_core.decode.reply_state import ReplyState
from dllm_core.decode.requests import Ticket
from dllm_core.decode.schedule import CostModel
from dllm_core.decode.stats import DenoiseStep, PrefillStats
from dllm_core.draft.counted import AnyDrafter, network_of
from dllm_core.model.cache import KeyValues, PromptCache, reusable
from dllm_core.model.packed_transformer import prepare
from dllm_core.model.tokenizer import Tokenizer
from dllm_core.model.transformer import Span, Transformer, visibility

_log = logging.getLogger(__name__)

ROWS = 32
"""Most rows of one step, over all sequences. A wider step costs as much as its sequences' steps
apart, and urgent work would wait the longer for its end (ADR 15)."""


class HostBackend:
    """Denoises step by step; one forward pass serves every reply under way.

    It has no thread of its own: asking for the next step of a reply runs a step of the batch, with
    that reply first. The steps of the others wait in their iterators. The batch is locked, so
    replies may be advanced from several threads.

    Args:
        model: the transformer, on any device.
        tokenizer: decodes the replies.
        context: longest prompt plus reply, in tokens.

    Attributes:
        drafter: drafts under the rule `draft`, or None; its context is read with every prompt where
            its passes can pay.
        draft_costs: milliseconds of drafts and of the passes that check them.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, context: int) -> None:
        self.config, self.context = model.config, context
        self.cost = CostModel()
        self.drafter: AnyDrafter | None = None
        self._prefix: PromptCache | None = None
        self.draft_costs = TYPICAL
        self._said_undrafted = False
        self._model, self._tokenizer = model, tokenizer
        self._dtype, self._device = model.embedding.dtype, model.embedding.device
        self.batch = Batch(model, size=ROWS, rows=ROWS)
        self._lock = Lock()

    def serves(self, cache: Cache, options: DecodeOptions | None) -> bool:
        """Always: every rule and every cache policy is written for the host."""
        return True

    def new_cache(self) -> PromptCache:
        """A cache in memory of its own, with the shared prefix; it grows to at most the context."""
        cache, prefix = self._empty_cache(), self._prefix
        if prefix is not None and (prefix.drafts is not None or not self._asks_drafter):
            prefix.copy_to(cache)
        return cache

    @property
    def _asks_drafter(self) -> bool:
        """Whether the drafter's network may pay, so that its context is kept."""
        drafter = network_of(self.drafter)
        return drafter is not None and self.draft_costs.may_pay(alone=drafter.ngrams is None)

    def _empty_cache(self) -> PromptCache:
        return PromptCache(KeyValues(self.config, self.context, self._dtype, self._device))

    @property
    def can_share(self) -> bool:
        """Whether there is a drafter and no prefix yet.

        Caches to come then begin with a copy of it. Without a drafter every sequence reads its
        whole prompt for itself.
        """
        return self.drafter is not None and self._prefix is None and self.config.autoregressive

    @torch.inference_mode()
    def share(self, ids: Sequence[int]) -> None:
        """Read a prefix for all caches to come, with the drafter's context of it."""
        if self.can_share:
            prefix = self._empty_cache()
            self._prefill(ids, prefix)
            self._prefix = prefix

    def prefill(self, ids: Sequence[int], cache: Cache) -> PrefillStats:
        """See `Engine.prefill`."""
        if self.config.attention == "bidirectional" or self.config.pads_prompts:
            return PrefillStats(0, 0, 0.0)
        return self._prefill(ids, cache.contiguous)

    def _prefill(self, ids: Sequence[int], cache: PromptCache) -> PrefillStats:
        return self.read_with_states(ids, (), cache)[0]

    @torch.inference_mode()
    def read_with_states(
        self, ids: Sequence[int], places: Sequence[int], cache: PromptCache
    ) -> tuple[PrefillStats, Tensor | None]:
        """Read `ids`; also the hidden states (places, hidden_size) after `ids[:place]`, or None.

        A token that is in the cache already is read again for its state.
        """
        begin, padding = perf_counter(), cache.padding
        shared = reusable(self.config, cache.ids, cache.whole, ids, padding)
        drafter = network_of(self.drafter) if self._asks_drafter else None
        drafts = None if drafter is None else drafter.beside(cache)
        if drafts is not None:
            # Positions that were read without the drafter are read again.
            shared = min(shared, len(drafts))
        if places:
            shared = min(shared, min(places) - 1)
        cache.crop(shared)
        stop, states = self.config.block_start(len(ids), padding), None
        new = list(ids[shared:stop])
        if new:
            cache.reserve(len(new))
            mask = visibility(self.config, shared, len(new), stop, padding=padding)
            span = Span(cache.store, shared, len(new), stop, self._placed(mask))
            taps = None if drafter is None else drafter.taps(len(new))
            hidden = self._model(torch.tensor(new, device=self._device), [span], None, taps)
            if drafter is not None and taps is not None and drafts is not None:
                drafter.extend(drafts, taps.features)
            cache.commit(new)
            cache.whole = stop
            states = hidden[[place - 1 - shared for place in places]] if places else None
        return PrefillStats(shared, len(new), (perf_counter() - begin) * 1e3), states

    def _placed(self, mask: Tensor | None) -> Tensor | None:
        return None if mask is None else mask.to(self._device)

    def read(self, ids: Sequence[int], cache: Cache, options: DecodeOptions) -> PrefillStats:
        """See `Engine.read`."""
        return self._read(ids, cache.contiguous, options, self.config.padding(len(ids)))

    def _read(
        self, ids: Sequence[int], cache: PromptCache, options: DecodeOptions, padding: int
    ) -> PrefillStats:
        policy = resolve_policy(self.config, options.cache)
        keeps = options.rule == "fixed_point" or policy in ("exact", "prompt_frozen")
        if not keeps or cache.padding != padding:
            cache.crop(0)
            cache.padding = padding
        if not keeps:
            return PrefillStats(0, 0, 0.0)
        return self._prefill(ids[:-1] if self.config.shift else ids, cache)

    @torch.inference_mode()
    def begin(self, ids: Sequence[int], cache: Cache, options: DecodeOptions) -> ReplyState:
        """Read the prompt; returns the denoiser of the reply, which is in no batch yet."""
        own = cache.contiguous
        if options.rule == "draft" and self.drafter is None and not self._said_undrafted:
            self._said_undrafted = True
            _log.warning(
                "There is no drafter for this model: replies go on token by token. "
                "`onebreath adapt drafter MODEL --counts-only` makes one."
            )
        prefill = self._read(ids, own, options, self.config.padding(len(ids)))
        return ReplyState(
            self.config, self._tokenizer, ids, own, options, prefill, self.cost,
            read=lambda longer: self._read(longer, own, options, own.padding),
            drafter=self.drafter, draft_costs=self.draft_costs,
        )  # fmt: skip

    def submit(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions, due: float | None
    ) -> HostSteps:
        """See `Engine.submit`."""
        state = self.begin(ids, cache, options)
        if due is None and options.deadline_ms is not None:
            due = monotonic() + options.deadline_ms / 1e3
        with self._lock:
            return HostSteps(self.batch, self._lock, state, self.batch.submit(state, due))

    def prepare(self, options: DecodeOptions) -> list[str]:
        """Compile the CPU kernels that the model runs; returns no lines."""
        prepare(self._model)
        return []

    def measure(self, options: DecodeOptions) -> None:
        """Measure what such replies have to know: the cost of steps that may be cut."""
        if options.deadline_ms is not None or not options.keeps_every_word:
            self.cost = measured_cost(self._model, self.context)

    def measure_drafts(self, options: DecodeOptions) -> Generator[None, None, None]:
        """Measure the cost of drafts, if such replies draft, in pieces of some 20 ms.

        It takes half a second or so on a CPU; until then a typical cost stands in.
        """
        if options.rule == "draft" and self.drafter is not None:
            self.draft_costs = yield from draft_costs(
                self._model, network_of(self.drafter), self.context
            )
            if self._prefix is not None and not self._asks_drafter:
                self._prefix.drafts = None


class HostSteps(Iterator[DenoiseStep]):
    """The steps of one reply in the batch of a `HostBackend`; see `Engine.submit`."""

    def __init__(
        self, batch: Batch, lock: Lock, state: ReplyState, ticket: Ticket[Denoiser]
    ) -> None:
        self._batch, self._lock, self._state, self._ticket = batch, lock, state, ticket

    def __next__(self) -> DenoiseStep:
        with self._lock:
            if not self._state.steps and not self._ticket.over:
                self._batch.step(self._ticket)
            if self._ticket.error is not None:
                raise self._ticket.error
            if self._ticket.cancelled or not self._state.steps:
                raise StopIteration
            return self._state.steps.popleft()

    def close(self) -> None:
        """Leave the batch; no later step runs this reply."""
        with self._lock:
            self._ticket.cancel()

    def __del__(self) -> None:
        self._ticket.cancel()
