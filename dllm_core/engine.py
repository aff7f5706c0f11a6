"""The engine: a loaded model that turns prompts into replies."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dllm_core.config import CachePolicy, DecodeOptions, ModelConfig
from dllm_core.decode import infill
from dllm_core.decode.calibrate import measured_cost
from dllm_core.decode.denoise import resolve_policy, run
from dllm_core.decode.reply_state import Answer, check_request
from dllm_core.decode.reply_steps import Steps
from dllm_core.decode.schedule import CostModel
from dllm_core.decode.stats import DenoiseStep, PrefillStats, Reply
from dllm_core.gpu.device import Device, objection
from dllm_core.gpu.device_batch import MOST_CALLS
from dllm_core.gpu.device_steps import DeviceSteps
from dllm_core.gpu.memory_plan import Budget
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.model import lora, weights
from dllm_core.model.cache import KeyValues, PromptCache
from dllm_core.model.loading import load
from dllm_core.model.packed_transformer import prepare
from dllm_core.model.paged_cache import PagedCache
from dllm_core.model.place import Dtype
from dllm_core.model.tokenizer import Tokenizer
from dllm_core.model.transformer import Span, Transformer, visibility

_log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 2048

Cache = PromptCache | PagedCache
"""What a call has read: in memory of its own, or in pages of a GPU."""


class Engine:
    """A loaded model, its tokenizer and the place they run.

    Caches belong to calls, the engine to the process. One caller at a time, except on a GPU, whose
    `gpu` serves the replies of several threads together.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        context: int,
        denoiser: lora.DenoiserSettings | None = None,
    ) -> None:
        self.model = model
        self.denoiser = denoiser
        self.tokenizer = tokenizer
        self.config: ModelConfig = model.config
        self.context = context
        self.device = model.embedding.device
        self.cost = CostModel()
        self.dtype = model.embedding.dtype
        self.gpu: Device | None = None
        """Where there is one and the model denoises: rounds over pages (docs/gpu.md)."""
        self._told: set[str] = set()

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str = "auto",
        threads: int | None = None,
        context: int = DEFAULT_CONTEXT,
        config: Mapping[str, Any] | None = None,
        adapter: str | Path | None = None,
        merge: bool = True,
        progress: weights.Progress | None = None,
    ) -> Engine:
        """Load a checkpoint.

        Args:
            source: a GGUF file, a directory of safetensors shards with config.json and
                tokenizer.json, or a Hugging Face name.
            dtype: of the weights. `auto` is int4 on a CPU (a checkpoint's own 4-bit weights, int8
                where it has none; float32 where the system forbids kernels) and bfloat16 on a GPU;
                `fp8` quantises the blocks' matrices while they are loaded, on a GPU that
                multiplies them.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
            threads: CPU threads of one operation, for the whole process; None leaves them.
            context: longest prompt plus reply, in tokens; bounds the memory of a call.
            config: fields of ModelConfig that the checkpoint leaves unsaid, such as
                `{"attention": "block_causal", "block_length": 32}` of a tiny-A2D bd3lm one.
            adapter: directory of a LoRA adapter in PEFT's format; it may turn an autoregressive
                checkpoint into one that denoises (`onebreath adapt`).
            merge: whether the adapter is added to the weights once, or at every pass. The latter
                keeps a checkpoint's own 4-bit weights.
            progress: called with the share done and what is being done.

        Raises:
            AdapterError: the adapter is damaged or belongs to another base.
            ModelFileError: the file is missing, of another kind or truncated.
            UnsupportedModelError: the family or the tokenizer is not known.
            WeightsError: tensors are missing, unexpected or of the wrong shape.
            OptionError: this dtype does not run on this device.
            PagesFullError: beside the weights, the GPU has no room for a single call.
        """
        loaded = load(
            source,
            dtype=dtype,
            device=device,
            threads=threads,
            context=context,
            config=config,
            adapter=adapter,
            merge=merge,
            progress=progress,
        )
        engine = cls(loaded.model, loaded.tokenizer, loaded.context, loaded.denoiser)
        if engine._may_use_pages:
            engine.use_pages()
        return engine

    @property
    def _may_use_pages(self) -> bool:
        """On a GPU, for models that denoise and have kernels for all that they do."""
        denoises = self.config.mask_id is not None
        return self.device.type == "cuda" and denoises and PagedModel.serves(self.model)

    def use_pages(self, pages: int | None = None, calls: int = MOST_CALLS) -> None:
        """Serve the caches to come from `pages` pages, by default what the GPU has room for.

        Raises:
            PagesFullError: it has no room for a single call.
        """
        if pages is None:
            # Every call's canvas and the token before it, in a batch of all of them.
            rows = calls * (self.default_options.canvas_length + 1)
            free = torch.cuda.mem_get_info(self.device)[0]
            pages = Budget.of(self.config, self.dtype, self.context, rows, free).pages(calls)
        self.gpu = Device(self.model, self.context, pages, calls=calls)

    def new_cache(self) -> Cache:
        """An empty cache for one call; it grows to at most the engine's context.

        Raises:
            PagesFullError: the GPU has no room for another call.
        """
        return self.contiguous_cache() if self.gpu is None else self.gpu.new_cache()

    def contiguous_cache(self) -> PromptCache:
        """An empty cache in memory of its own, wherever the model runs."""
        return PromptCache(KeyValues(self.config, self.context, self.dtype, self.device))

    def share(self, ids: Sequence[int]) -> None:
        """Read the common beginning of all prompts to come, such as the instructions.

        On a GPU, caches made from now on begin with it and share its pages; elsewhere every
        call reads it for itself.

        Raises:
            PromptTooLongError, PagesFullError: it does not fit.
        """
        if self.gpu is not None:
            self.gpu.share(ids)

    def _on_gpu(
        self, cache: Cache, options: DecodeOptions | None
    ) -> tuple[Device, PagedCache] | None:
        """Where a reply with these options is denoised in rounds; tells once why it is not."""
        if self.gpu is None or not isinstance(cache, PagedCache):
            return None
        why = None if options is None else objection(self.config, options)
        if why is None:
            return self.gpu, cache
        if why not in self._told:
            self._told.add(why)
            _log.warning("Replies run step by step without CUDA graphs: %s.", why)
        return None

    def _contiguous(self, cache: Cache) -> PromptCache:
        """The cache itself, or the one that a paged cache has for what pages do not serve."""
        if isinstance(cache, PromptCache):
            return cache
        if cache.contiguous is None:
            cache.contiguous = self.contiguous_cache()
        return cache.contiguous

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Prompt ids of (role, content) pairs, ending where the reply begins."""
        return self.tokenizer.encode_chat(messages)

    def prefill(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions | None = None
    ) -> PrefillStats:
        """Read a prompt into the cache; only what follows the longest shared prefix is computed.

        The prompt may still grow or change: call again with the new ids. A model trained on
        blocks reads whole blocks only, for the last one depends on what follows. For
        bidirectional models what is read this way is an approximation that only the policy
        `prompt_frozen` uses. On a GPU, `options` say whether the reply will look for it in pages.

        Raises:
            PromptTooLongError: the prompt does not fit the context.
        """
        if found := self._on_gpu(cache, options):
            gpu, pages = found
            return gpu.prefill(ids, pages)
        return self._prefill(ids, self._contiguous(cache))

    def hidden_after(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions | None = None
    ) -> Tensor | None:
        """Hidden state (hidden_size,) after the last layer, at the last of `ids`.

        What the cache lacks is read into it, so that a prefill that follows finds it there; if
        all is there, the last token is read again. None where tokens see what follows them, or
        where the prompt lies in pages on a GPU.

        Raises:
            PromptTooLongError: the prompt does not fit the context.
        """
        if not self.config.autoregressive or not ids or self._on_gpu(cache, options):
            return None
        own = self._contiguous(cache)
        own.crop(min(own.shared_prefix(ids), len(ids) - 1))
        return self._read_on(ids, own)[-1]

    def read_with_state(
        self, ids: Sequence[int], place: int, cache: Cache, options: DecodeOptions
    ) -> tuple[PrefillStats, Tensor | None]:
        """As `read`, and the hidden state (hidden_size,) after `ids[:place]`, from the same pass.

        The state is None where `hidden_after` has none.

        Raises:
            PromptTooLongError: the prompt does not fit the context.
            OptionError: the model cannot decode with these options.
        """
        if not self.config.autoregressive or place < 1 or self._on_gpu(cache, options):
            return self.read(ids, cache, options), None
        check_request(self.config, self.context, ids, options)
        begin, own = perf_counter(), self._contiguous(cache)
        # The last token is left to the canvas, whose first position it predicts.
        stop = len(ids) - 1
        shared = min(own.shared_prefix(ids), place - 1, stop - 1)
        own.crop(shared)
        state = self._read_on(ids[:stop], own)[min(place, stop) - 1 - shared]
        return PrefillStats(shared, stop - shared, (perf_counter() - begin) * 1e3), state

    @torch.inference_mode()
    def _read_on(self, ids: Sequence[int], cache: PromptCache) -> Tensor:
        """Read the ids after those in the cache; hidden states (new, hidden_size)."""
        start, stop = len(cache), len(ids)
        new = list(ids[start:stop])
        cache.reserve(len(new))
        mask = visibility(self.config, start, len(new), stop)
        span = Span(cache.store, start, len(new), stop, self._placed(mask))
        hidden: Tensor = self.model(torch.tensor(new, device=self.device), [span])
        cache.commit(new)
        return hidden

    @torch.inference_mode()
    def _prefill(self, ids: Sequence[int], cache: PromptCache) -> PrefillStats:
        begin = perf_counter()
        block = self.config.block_length if self.config.attention == "block_causal" else 1
        shared = cache.shared_prefix(ids) // block * block
        cache.crop(shared)
        stop = len(ids) // block * block
        if shared < stop:
            self._read_on(ids[:stop], cache)
        return PrefillStats(shared, stop - shared, (perf_counter() - begin) * 1e3)

    def _placed(self, mask: Tensor | None) -> Tensor | None:
        return None if mask is None else mask.to(self.device)

    def iterate(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions | None = None
    ) -> Steps:
        """Denoise the reply to the prompt `ids`, yielding after every step.

        On a GPU, where a round of steps runs at once, after every round, and the reply has
        joined the batch on return; see DecodeOptions.every_step. Closing the iterator cancels the
        reply; the cache stays valid and keeps what is final.

        Raises:
            PromptTooLongError: prompt and reply do not fit the context.
            OptionError: the prompt is empty, or the options do not suit the model.
        """
        options = options or self.default_options
        check_request(self.config, self.context, ids, options)
        if found := self._on_gpu(cache, options):
            gpu, pages = found
            return DeviceSteps(gpu, self.tokenizer, ids, pages, options)
        return self._steps(ids, self._contiguous(cache), options)

    @property
    def default_options(self) -> DecodeOptions:
        """Fixed point for autoregressive models, 32 positions in 16 steps for diffusion models,
        what `denoiser.json` says for adapted ones. On a GPU, bidirectional models keep their prompt
        (`prompt_frozen`), which is an approximation."""
        if self.config.mask_id is None:
            return DecodeOptions()
        if self.denoiser is not None:
            return DecodeOptions(
                rule="quota",
                canvas_length=self.denoiser.canvas_length,
                steps=self.denoiser.steps,
                canvas_layers=self.denoiser.canvas_layers,
            )
        keep = self.device.type == "cuda" and self.config.attention == "bidirectional"
        policy: CachePolicy = "prompt_frozen" if keep else "auto"
        return DecodeOptions(rule="quota", canvas_length=32, cache=policy)

    def read(self, ids: Sequence[int], cache: Cache, options: DecodeOptions) -> PrefillStats:
        """Read as much of a complete prompt as the rule and the policy of `options` can use.

        `iterate` does this itself; call it before to do it apart. Where logits are shifted, the
        last token is left to be run with the canvas: its logits predict the first position.

        Raises:
            PromptTooLongError: the prompt does not fit the context.
            OptionError: the model cannot decode with these options.
        """
        check_request(self.config, self.context, ids, options)
        if found := self._on_gpu(cache, options):
            gpu, pages = found
            return gpu.read(ids, pages, options)
        return self._read(ids, self._contiguous(cache), options)

    def _read(self, ids: Sequence[int], cache: PromptCache, options: DecodeOptions) -> PrefillStats:
        policy = resolve_policy(self.config, options.cache)
        if options.rule != "fixed_point" and policy not in ("exact", "prompt_frozen"):
            cache.crop(0)
            return PrefillStats(0, 0, 0.0)
        return self._prefill(ids[:-1] if self.config.shift else ids, cache)

    @torch.inference_mode()
    def begin(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions | None = None
    ) -> Answer:
        """Read the prompt and leave the steps to others: several replies may share a pass (Batch).

        Its keys and values are in memory of its own, on a GPU, too.

        Raises:
            PromptTooLongError, OptionError: as `iterate`.
        """
        options, own = options or self.default_options, self._contiguous(cache)
        check_request(self.config, self.context, ids, options)
        prefill = self._read(ids, own, options)
        return Answer(
            self.config, self.tokenizer, ids, own, options, prefill, self.cost,
            read=lambda longer: self._read(longer, own, options),
        )  # fmt: skip

    def _steps(
        self, ids: Sequence[int], cache: PromptCache, options: DecodeOptions
    ) -> Generator[DenoiseStep, None, None]:
        answer = self.begin(ids, cache, options)
        while not answer.done:
            with torch.inference_mode():
                answer.absorb(run(self.model, answer.plan()))
            yield answer.steps.popleft()

    def reply(
        self,
        ids: Sequence[int],
        cache: Cache | None = None,
        options: DecodeOptions | None = None,
    ) -> Reply:
        """Denoise a whole reply; the same errors as `iterate`."""
        text, last = "", None
        cache = self.new_cache() if cache is None else cache
        for last in self.iterate(ids, cache, options):
            text += last.text
        assert last is not None
        assert last.stats is not None
        return Reply(text, last.canvas.ids, last.stats)

    @torch.inference_mode()
    def fill(
        self,
        template: Sequence[int | None],
        options: DecodeOptions | None = None,
        *,
        allowed: Tensor | None = None,
    ) -> tuple[int, ...]:
        """Denoise the open positions (None) of a template anywhere; the others stay.

        A model taught to denoise sees what follows a gap, any other fills from left to right
        by what precedes it. `allowed` is boolean (length, vocab): what each position may become.

        Raises:
            OptionError: the template is empty, or begins with a gap that shifted logits cannot
                predict, or the rule does not suit the model.
            PromptTooLongError: the template does not fit the context.
        """
        return infill.fill(self.model, self.contiguous_cache(), template, options, allowed)

    @torch.inference_mode()
    def score(self, before: Sequence[int], ids: Sequence[int]) -> float:
        """Mean log-probability of `ids` after `before`; a diffusion model sees them masked."""
        return infill.score(self.model, self.contiguous_cache(), before, ids)

    def warm_up(self, options: DecodeOptions | None = None) -> None:
        """Run every kernel once and measure what a step costs, so that no caller pays for it.

        On a GPU the rounds of replies with these options are captured as graphs.
        """
        options = options or self.default_options
        if self.gpu is not None:
            for line in self.gpu.warm_up(options):
                _log.info("%s", line)
        prepare(self.model)
        token = self.config.eos_ids[0]
        self.prefill([token] * 128, self.new_cache())
        self.reply([token] * 8, options=replace(options, max_tokens=2))
        if self.gpu is None:
            self.cost = measured_cost(self.model, self.context)
