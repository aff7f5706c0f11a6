"""The engine: a loaded model that turns prompts into replies."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dllm_core.config import CachePolicy, DecodeOptions, ModelConfig, require_known
from dllm_core.decode import infill
from dllm_core.decode.backend import Backend, Cache
from dllm_core.decode.host_backend import HostBackend
from dllm_core.decode.options import (
    LEFT_TO_RIGHT,
    check_ids,
    check_options,
    check_request,
    check_used,
)
from dllm_core.decode.reply_state import ReplyState
from dllm_core.decode.reply_steps import Steps
from dllm_core.decode.stats import PrefillStats, Reply
from dllm_core.draft import bundled
from dllm_core.draft.counted import AnyDrafter, load_drafter
from dllm_core.gpu.device import Device
from dllm_core.gpu.device_batch import MOST_SEQUENCES
from dllm_core.gpu.memory_plan import MemoryPlan
from dllm_core.gpu.paged_backend import PagedBackend
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.model import lora, packed_store, weights
from dllm_core.model.cache import PromptCache, shared_prefix
from dllm_core.model.loading import load
from dllm_core.model.place import Dtype
from dllm_core.model.tokenizer import Tokenizer
from dllm_core.model.transformer import Transformer

_log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 2048


class Engine:
    """A loaded model, its tokenizer, and the back ends that denoise replies with it.

    A cache belongs to one sequence (one conversation) and serves one reply at a time; the engine
    belongs to the process. Replies that
    are under way at the same time share forward passes: each back end batches all requests that
    are submitted to it. The host's back end runs a step whenever the next step of a reply is
    asked for; that of a GPU runs rounds of several steps (docs/gpu.md).

    Replies may be submitted and advanced from several threads, a cache and the iterator of a
    reply from one thread at a time. All work runs on the thread that asks for it.

    Args:
        model: the transformer with its weights.
        tokenizer: the tokenizer of the same checkpoint.
        context: longest prompt plus reply, in tokens.
        denoiser: canvas and steps that an adapter was trained for; None without such an adapter.

    Attributes:
        model, tokenizer, context, denoiser: the arguments.
        config: the model's configuration.
        device: torch device of the weights.
        dtype: number format of everything but quantised layers, and of keys and values.
        host: back end that runs any rule, step by step.
        gpu: the `Device` of the GPU's back end, or None; see `use_pages`.
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
        self.dtype = model.embedding.dtype
        self.host = HostBackend(model, tokenizer, context)
        self.gpu: Device | None = None
        self._backends: list[Backend] = [self.host]

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
        packed: str | Path = "auto",
        packed_limit: int = packed_store.LIMIT,
    ) -> Engine:
        """Load a checkpoint.

        Args:
            source: path of a GGUF file, a directory of safetensors shards with config.json and
                tokenizer.json, or a Hugging Face name.
            dtype: number format of the weights. `auto` is int4 on a CPU (a checkpoint's own
                quantised weights, int8 where it has no such; float32 where the system forbids
                kernels) and bfloat16 on a GPU;
                `fp8` quantises the blocks' matrices while they are loaded, on a GPU that
                multiplies them.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
            threads: CPU threads of one operation, for the whole process; None leaves them.
            context: longest prompt plus reply, in tokens; bounds the memory of a sequence.
            config: fields of ModelConfig that the checkpoint leaves out, such as
                `{"attention": "block_causal", "block_length": 32}` of a tiny-A2D bd3lm one.
            adapter: directory of a LoRA adapter in PEFT's format; it may turn an autoregressive
                checkpoint into one that denoises (`onebreath adapt`).
            merge: whether the adapter is added to the weights once, or at every pass. The latter
                keeps a checkpoint's own quantised weights.
            progress: called with the share done (0 to 1) and a description of the work.
            packed: where packed weights are kept between runs, so that int4 and int8 are loaded at
                once: a directory, `off`, or `auto` (ONEBREATH_PACKED_WEIGHTS, or the user's cache
                directory).
            packed_limit: bytes of all files there.

        Raises:
            AdapterError: the adapter is damaged or belongs to another base.
            ModelFileError: the file is missing, of another kind or truncated.
            UnsupportedModelError: the family or the tokenizer is not supported.
            WeightsError: tensors are missing, unexpected or of the wrong shape.
            OptionError: this dtype does not run on this device.
            PagesFullError: beside the weights, the GPU has no room for a single sequence.
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
            packed=packed,
            packed_limit=packed_limit,
        )
        engine = cls(loaded.model, loaded.tokenizer, loaded.context, loaded.denoiser)
        if engine._may_use_pages:
            engine.use_pages()
        return engine

    @property
    def _may_use_pages(self) -> bool:
        """Whether the weights lie on a GPU and the model denoises with operators of its kernels."""
        denoises = self.config.mask_id is not None
        return self.device.type == "cuda" and denoises and PagedModel.serves(self.model)

    @property
    def drafter(self) -> AnyDrafter | None:
        """The drafter of the rule `draft`; see `use_drafter`."""
        return self.host.drafter

    def bundled_drafter(self) -> Path | None:
        """The directory of the drafter that this package carries for the loaded model, if any.

        Drafts are for CPUs: None on a GPU.

        Raises:
            DrafterError: a configuration in the package is damaged.
        """
        on_cpu = self.device.type == "cpu" and self.config.mask_id is None
        return bundled.find(self.model) if on_cpu and self.config.autoregressive else None

    def use_drafter(self, source: str | Path) -> None:
        """Draft replies with the drafter in this directory (`onebreath adapt drafter`).

        Raises:
            DrafterError: it is damaged, or belongs to another model.
        """
        self.host.drafter = load_drafter(Path(source), self.model, self.context)

    def use_pages(self, pages: int | None = None, sequences: int = MOST_SEQUENCES) -> None:
        """Keep the caches to come in pages of the GPU and denoise their replies in rounds.

        Args:
            pages: number of pages; None for as many as the GPU has room for.
            sequences: most replies that are denoised at the same time.

        Raises:
            PagesFullError: the GPU has no room for a single sequence.
        """
        if pages is None:
            # Every sequence's canvas and the token before it, in a batch of all of them.
            rows = sequences * (self.default_options.canvas_length + 1)
            free = torch.cuda.mem_get_info(self.device)[0]
            plan = MemoryPlan.of(self.config, self.dtype, self.context, rows, free)
            pages = plan.pages(sequences)
        self.use_device(Device(self.model, self.context, pages, sequences=sequences))

    def use_device(self, device: Device) -> None:
        """Denoise on `device` the replies that it serves, and all others on the host."""
        self.gpu = device
        self._backends = [PagedBackend(device, self.tokenizer), self.host]

    def _backend(self, cache: Cache, options: DecodeOptions | None) -> Backend:
        """The first back end that serves this cache with these options; the host serves all."""
        return next(backend for backend in self._backends if backend.serves(cache, options))

    def new_cache(self) -> Cache:
        """An empty cache for one sequence; it grows to at most the engine's context.

        Raises:
            PagesFullError: the GPU has no room for another sequence.
        """
        return self._backends[0].new_cache()

    def contiguous_cache(self) -> PromptCache:
        """An empty cache in one piece of memory, on whichever device the model runs."""
        return self.host.new_cache()

    @property
    def can_share(self) -> bool:
        """Whether caches to come can begin with a common prefix, before it has been read.

        True on a GPU but for bidirectional models, and on a CPU with a drafter, until `share` has
        been called.
        """
        return self._backends[0].can_share

    def share(self, ids: Sequence[int]) -> None:
        """Read the common prefix of all prompts to come, such as the instructions.

        On a GPU, caches made from now on begin with it and share its pages; on a CPU with a drafter
        they begin with a copy of it; elsewhere, and in bidirectional models, every sequence reads
        it for itself.

        Raises:
            PromptTooLongError: it exceeds the context.
            PagesFullError: the GPU has no room for it.
        """
        self._backends[0].share(ids)

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Token ids of a conversation of (role, content) pairs, ending where the reply begins.

        Raises:
            OptionError: the model has no chat template, or the template refuses the conversation.
        """
        return self.tokenizer.encode_chat(messages)

    def encode_chat_head(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Token ids with which every prompt begins that has these messages, then a caller's words.

        Raises:
            OptionError: as `encode_chat`.
        """
        one, other = (self.encode_chat([*messages, ("user", words)]) for words in "ab")
        return one[: shared_prefix(one, other)]

    def prefill(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions | None = None
    ) -> PrefillStats:
        """Read a prompt into the cache; the longest prefix that it shares is not computed again.

        The prompt may still grow or change: read again with the new ids. A model trained on
        blocks reads whole blocks only, for the last one depends on later tokens. In a
        bidirectional model all keys do: it reads nothing before its prompt is complete, so that
        the same prompt gives the same reply however it came (`read`). On a GPU, `options` decide
        whether the prompt is read into pages: give those of the reply.

        Raises:
            OptionError: an id lies outside the vocabulary.
            PromptTooLongError: the prompt does not fit the context.
        """
        check_ids(self.config, ids)
        return self._backend(cache, options).prefill(ids, cache)

    def read_with_states(
        self, ids: Sequence[int], places: Sequence[int], cache: Cache, options: DecodeOptions
    ) -> tuple[PrefillStats, Tensor | None]:
        """As `read`, and the hidden states after `ids[:place]` for each place, from the same pass.

        The states (places, hidden_size) are those after the last layer. None where tokens see what
        follows them, where the prompt lies in pages on a GPU, or where a place is not inside `ids`.

        Raises:
            PromptTooLongError: the prompt does not fit the context.
            OptionError: the model cannot decode with these options.
        """
        host = self._backend(cache, options) is self.host
        inside = bool(places) and all(0 < place < len(ids) for place in places)
        if not self.config.autoregressive or not host or not inside:
            return self.read(ids, cache, options), None
        check_request(self.config, self.context, ids, options)
        # The last token is left to the canvas, whose first position it predicts.
        return self.host.read_with_states(ids[:-1], places, cache.contiguous)

    def submit(
        self,
        ids: Sequence[int],
        cache: Cache,
        options: DecodeOptions | None = None,
        *,
        due: float | None = None,
    ) -> Steps:
        """Read the prompt `ids` and add its reply to the batch of all replies under way.

        Returns an iterator of denoising steps; the reply has joined the batch on return. Nothing
        is computed until a step of some reply is asked for: that runs one forward pass for all
        of them, up to 32 rows, that reply first and then by due time; the steps of the others
        wait in their iterators. On a GPU a pass is a round of several steps, and one step is
        yielded for each round (see DecodeOptions.every_step).

        Closing the iterator cancels the reply; the cache stays valid and keeps final tokens. A
        reply that fails raises from its own iterator and leaves the others as they are.

        Args:
            ids: token ids of the prompt.
            cache: the sequence's cache; the prefix that it shares with `ids` is not computed again.
            options: how to denoise; `default_options` if None.
            due: time by which the reply should be served, in seconds of `time.monotonic`. It
                orders replies and does not cut them; `DecodeOptions.deadline_ms` bounds the time
                of one. Without it a reply is due at that deadline, or after 5 seconds.

        Raises:
            PromptTooLongError: prompt and reply do not fit the context.
            OptionError: the prompt is empty, or the options do not suit the model.
            QueueFullError: 64 requests wait for a place in the batch already.
        """
        options = options or self.default_options
        check_request(self.config, self.context, ids, options)
        return self._backend(cache, options).submit(ids, cache, options, due)

    def iterate(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions | None = None
    ) -> Steps:
        """Denoise the reply to the prompt `ids` step by step: `submit` without a due time."""
        return self.submit(ids, cache, options)

    @property
    def default_options(self) -> DecodeOptions:
        """The options of a reply without options of its own.

        The rule `draft` for autoregressive models with a drafter, `fixed_point` without, `quota`
        over 32 positions in 16 steps for diffusion models, canvas and steps of `denoiser.json`
        for adapted ones. On a GPU, bidirectional models keep their prompt (`prompt_frozen`),
        which is an approximation.
        """
        if self.config.mask_id is None:
            return DecodeOptions(rule="draft") if self.drafter is not None else DecodeOptions()
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

    def options(self, base: DecodeOptions | None = None, **given: Any) -> DecodeOptions:
        """The default options, or `base`, with the `given` ones in their place.

        Raises:
            OptionError: an option is unknown or out of its range, says nothing to the rule, or
                does not suit the model; the message says what does.
        """
        for name in given:
            require_known("option", name, list(DecodeOptions.__dataclass_fields__))
        base = base or self.default_options
        if given.get("rule", base.rule) != base.rule and "canvas_length" not in given:
            # Rules that go from left to right take one position at a time by default.
            before, after = (rule in LEFT_TO_RIGHT for rule in (base.rule, given["rule"]))
            if before != after:
                given["canvas_length"] = 1 if after else 32
        options = replace(base, **given)
        check_used(options, given)
        check_options(self.config, self.context, options)
        return options

    def read(self, ids: Sequence[int], cache: Cache, options: DecodeOptions) -> PrefillStats:
        """Read as much of a complete prompt as the rule and the cache policy can use.

        `submit` does this itself; read first to measure it apart. Where logits are shifted, the
        last token is left to run with the canvas, for its logits predict the first position.

        Raises:
            PromptTooLongError: the prompt does not fit the context.
            OptionError: the model cannot decode with these options.
        """
        check_request(self.config, self.context, ids, options)
        return self._backend(cache, options).read(ids, cache, options)

    def begin(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions | None = None
    ) -> ReplyState:
        """Read the prompt; returns the denoiser of the reply, for a `Batch` of one's own.

        Its keys and values lie in `cache.contiguous`, on a GPU, too.

        Raises:
            PromptTooLongError, OptionError: as `submit`.
        """
        options = options or self.default_options
        check_request(self.config, self.context, ids, options)
        return self.host.begin(ids, cache, options)

    def reply(
        self,
        ids: Sequence[int],
        cache: Cache | None = None,
        options: DecodeOptions | None = None,
    ) -> Reply:
        """Denoise a whole reply; arguments and errors are those of `submit`.

        Without a `cache` a new one is used and forgotten.
        """
        text, last = "", None
        cache = self.new_cache() if cache is None else cache
        with closing(self.submit(ids, cache, options)) as steps:
            for last in steps:
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
        """Denoise the open positions of a template; returns all its ids.

        A model taught to denoise sees the tokens behind a gap; any other fills gaps from left to
        right by the tokens before them.

        Args:
            template: token ids; None for an open position.
            options: how to denoise; by default `quota`, or `sequential` without a mask token.
            allowed: bool (length, vocab), the tokens that each position may become; None for all.

        Raises:
            OptionError: the template is empty, or begins with a gap that shifted logits cannot
                predict, or the rule does not suit the model.
            PromptTooLongError: the template does not fit the context.
        """
        return infill.fill(self.model, self.contiguous_cache(), template, options, allowed)

    @torch.inference_mode()
    def score(self, before: Sequence[int], ids: Sequence[int]) -> float:
        """Mean log-probability, in nats, of `ids` after `before`.

        A diffusion model predicts them all at once from masked positions.
        """
        return infill.score(self.model, self.contiguous_cache(), before, ids)

    def warm_up(self, options: DecodeOptions | None = None) -> None:
        """Compile and run every kernel once, and measure the costs that such replies decide by.

        A reply with a deadline learns the cost of a step while it runs where these options have
        none. On a GPU the rounds of replies with these options are captured as graphs.
        """
        self.warm_up_kernels(options)
        for _ in self.measure_drafts(options):
            pass

    def measure_drafts(self, options: DecodeOptions | None = None) -> Iterator[None]:
        """The part of `warm_up` that may follow later, in pieces of some 20 ms.

        It changes when replies are drafted, not their words. There are none on a GPU.
        """
        if self._backends[0] is not self.host:
            return iter(())
        return self.host.measure_drafts(options or self.default_options)

    def warm_up_kernels(self, options: DecodeOptions | None = None) -> None:
        """The part of `warm_up` without which a first reply would take longer."""
        options, backend = options or self.default_options, self._backends[0]
        for line in backend.prepare(options):
            _log.info("%s", line)
        token = self.config.eos_ids[0]
        self.prefill([token] * 128, self.new_cache())
        self.reply([token] * 8, options=replace(options, max_tokens=2))
        backend.measure(options)
