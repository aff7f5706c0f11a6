"""The engine: a loaded model that turns prompts into replies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import torch

from dllm_core import families, gguf_file, tokenizer, weights
from dllm_core.cache import KeyValues, PromptCache, causal
from dllm_core.canvas import CanvasView
from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.denoise import Progressed, fixed_point
from dllm_core.errors import OptionError, PromptTooLongError
from dllm_core.model import Linear, LinearKind, Span, Transformer
from dllm_core.quantize import Int8Linear
from dllm_core.reply import ReplyText
from dllm_core.stats import DenoiseStats, PrefillStats
from dllm_core.tokenizer import Tokenizer

Dtype = Literal["auto", "float32", "bfloat16", "int8"]
DEFAULT_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class DenoiseStep:
    """The reply after one forward pass over its canvas."""

    step: int
    """Counts from 1."""
    planned: int | None
    """Planned number of steps, or None where the rule decides on the way."""
    canvas: CanvasView
    tokens: tuple[str, ...]
    """Text of each position; empty where the canvas is still open."""
    text: str
    """What became final with this step; the pieces of all steps concatenate to the reply."""
    ms: float
    prefill: PrefillStats
    """Of the reading before the first step."""
    stats: DenoiseStats | None
    """Set on the last step of a reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    text: str
    ids: tuple[int, ...]
    """All final tokens, those of an unfinished sentence cut from the text included."""
    stats: DenoiseStats


class Engine:
    """A loaded model, its tokenizer and the place they run. Not thread-safe: one caller.

    Caches belong to calls, the engine to the process.
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer, context: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config: ModelConfig = model.config
        self.context = context
        self.device = model.embedding.device
        self.dtype = model.embedding.dtype

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str = "auto",
        threads: int | None = None,
        context: int = DEFAULT_CONTEXT,
        progress: weights.Progress | None = None,
    ) -> Engine:
        """Load a checkpoint.

        Args:
            source: a GGUF file.
            dtype: of the weights. `auto` is int8 on a CPU and bfloat16 on a GPU.
            device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
            threads: CPU threads of one operation, for the whole process; None leaves them.
            context: longest prompt plus reply, in tokens; bounds the memory of a call.
            progress: called with the share done and what is being done.

        Raises:
            ModelFileError: the file is missing, of another kind or truncated.
            UnsupportedModelError: the family or the tokenizer is not known.
            WeightsError: tensors are missing, unexpected or of the wrong shape.
            OptionError: this dtype does not run on this device.
        """
        place = _device(device)
        kind, float_dtype = _kind(dtype, place)
        if threads is not None:
            torch.set_num_threads(threads)
        file = gguf_file.GgufFile(Path(source))
        config = families.config_from_gguf(file.metadata, file.tensors)
        words = tokenizer.from_gguf(file.metadata)
        context = min(context, config.context_length)
        model = weights.build(config, kind, context, float_dtype, place)
        tensors = weights.undo_llama_cpp_rotation(file.read(), config)
        weights.fill(model, families.GGUF, tensors, progress)
        return cls(model, words, context)

    def new_cache(self) -> PromptCache:
        """An empty cache for one call; it grows to at most the engine's context."""
        return PromptCache(KeyValues(self.config, self.context, self.dtype, self.device))

    def encode_chat(self, messages: Sequence[tuple[str, str]]) -> list[int]:
        """Prompt ids of (role, content) pairs, ending where the reply begins."""
        return self.tokenizer.encode_chat(messages)

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int], cache: PromptCache) -> PrefillStats:
        """Read a prompt into the cache; only what follows the longest shared prefix is computed.

        The prompt may still grow or change: call again with the new ids.

        Raises:
            PromptTooLongError: the prompt does not fit the context.
        """
        begin = perf_counter()
        shared = cache.shared_prefix(ids)
        cache.crop(shared)
        new = list(ids[shared:])
        if new:
            cache.reserve(len(new))
            stop = shared + len(new)
            mask = causal(len(new), shared, self.device) if len(new) > 1 else None
            span = Span(cache.store, shared, len(new), stop, mask)
            self.model(torch.tensor(new, device=self.device), [span])
            cache.commit(new)
        return PrefillStats(shared, len(new), (perf_counter() - begin) * 1e3)

    def iterate(
        self, ids: Sequence[int], cache: PromptCache, options: DecodeOptions | None = None
    ) -> Iterator[DenoiseStep]:
        """Denoise the reply to the prompt `ids`, yielding after every step.

        Closing the iterator cancels the reply; the cache stays valid and keeps what is final.

        Raises:
            PromptTooLongError: prompt and reply do not fit the context.
            OptionError: the prompt is empty.
        """
        options = options or DecodeOptions()
        if not ids:
            raise OptionError("The prompt is empty: there is nothing to reply to.")
        needed = len(ids) + options.max_tokens + options.canvas_length
        if needed > self.context:
            raise PromptTooLongError(
                f"A prompt of {len(ids)} tokens and a reply of {options.max_tokens} do not fit "
                f"the context of {self.context}: shorten the history or load a larger context."
            )
        return self._steps(ids, cache, options)

    def _steps(
        self, ids: Sequence[int], cache: PromptCache, options: DecodeOptions
    ) -> Iterator[DenoiseStep]:
        # The last token is read together with the canvas: its logits predict the first word.
        prefill = self.prefill(ids[:-1], cache)
        reply = ReplyText(self.tokenizer)
        confidence: list[float] = []
        begin = mark = perf_counter()
        steps = fixed_point(self.model, cache, ids[-1], options.canvas_length)
        for number in range(1, options.max_tokens + 1):
            with torch.inference_mode():
                step = next(steps)
            final, complete = self._until_end(step.final, options.max_tokens - len(reply.ids))
            text = reply.push(final)
            confidence += step.final_confidence[: len(final)]
            stats = None
            if complete or len(reply.ids) == options.max_tokens:
                rest, ended = reply.finish(complete=complete)
                text += rest
                tokens = len(reply.ids) + complete
                ms = (perf_counter() - begin) * 1e3
                stats = DenoiseStats(prefill, tokens, number, ms, ended, cache.nbytes)
            view = _view(reply.ids, confidence, step if stats is None else None)
            words, step_ms = self._words(view), (perf_counter() - mark) * 1e3
            yield DenoiseStep(number, None, view, words, text, step_ms, prefill, stats)
            if stats is not None:
                return
            mark = perf_counter()

    def _until_end(self, ids: list[int], room: int) -> tuple[list[int], bool]:
        """The ids before an end-of-reply token and within the bound; was there such a token?"""
        for i, token in enumerate(ids[: room + 1]):
            if token in self.config.eos_ids:
                return ids[:i], True
        return ids[:room], False

    def _words(self, view: CanvasView) -> tuple[str, ...]:
        return tuple(
            "" if masked else self.tokenizer.decode([token])
            for token, masked in zip(view.ids, view.masked, strict=True)
        )

    def reply(
        self,
        ids: Sequence[int],
        cache: PromptCache | None = None,
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

    def warm_up(self) -> None:
        """Run every kernel once so that the first caller does not pay for it."""
        token = self.config.eos_ids[0]
        for length in (128, 16):
            self.prefill([token] * length, self.new_cache())
        self.reply([token] * 8, options=DecodeOptions(max_tokens=2))


def _view(ids: list[int], confidence: list[float], step: Progressed | None) -> CanvasView:
    guesses = step.open if step else []
    guess_confidence = step.open_confidence if step else []
    return CanvasView(
        ids=(*ids, *guesses),
        masked=(False,) * len(ids) + (True,) * len(guesses),
        confidence=(*confidence, *guess_confidence),
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"There is no device called {name!r}: use cpu, cuda or auto.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError("No CUDA device is visible to torch: use the device cpu or auto.")
    return device


def _kind(dtype: Dtype, device: torch.device) -> tuple[LinearKind, torch.dtype]:
    if dtype == "auto":
        dtype = "int8" if device.type == "cpu" else "bfloat16"
    if dtype == "int8":
        if device.type != "cpu":
            raise OptionError(f"int8 layers run on a CPU, not on {device.type}: use bfloat16.")
        return Int8Linear, torch.float32
    if dtype == "bfloat16":
        return Linear, torch.bfloat16
    if dtype == "float32":
        return Linear, torch.float32
    raise OptionError(f"{dtype!r} is no dtype of this engine: use auto, float32, bfloat16 or int8.")
