"""DiffusionGemma as a responder, on transformers' own class; no code of a checkpoint is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, DiffusionGemmaForBlockDiffusion

from agent.responders.base import (
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyPiece,
    ReplyText,
    ResponderError,
)
from agent.responders.gemma_canvas import GemmaCanvas, GemmaPrompt, Schedule
from agent.responders.transformers_parts import chat_ids, place_of
from dllm_core.decode.denoise import finished_before
from dllm_core.decode.reply_text import ReplyDetokenizer
from dllm_core.model.tokenizer import Tokenizer

CHECKPOINT = "google/diffusiongemma-26B-A4B-it"


class DiffusionGemmaResponder:
    """A loaded DiffusionGemma, shared by all calls; each call owns its prompt cache.

    Args:
        source: a directory or a Hugging Face name.
        dtype: `bfloat16`, `float32`, or `auto` for the first on a GPU and the second on a CPU.
        threads: CPU threads of one operation, for the whole process; None leaves them.
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        max_tokens: longest reply, in tokens; it is cut at the end of a sentence where there is
            one. None for one canvas.
        context: longest prompt plus reply, in tokens; bounds the memory of a call.
        seed: seed of the random canvas; the same prompt gives the same reply.
        progress: called with the share done (0 to 1) and the present work.

    Raises:
        ResponderError: the model could not be loaded; the message says what to do.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        max_tokens: int | None = None,
        context: int = 8192,
        seed: int = 0,
        progress: Callable[[float, str], None] | None = None,
    ) -> None:
        place, number_format = place_of(dtype, device)
        if threads is not None:
            torch.set_num_threads(threads)
        if progress is not None:
            progress(0.0, f"loading {source}")
        self.model, self._tokenizer = _load(source, number_format)
        self.model.to(place)
        config = self.model.config
        self.max_tokens = config.canvas_length if max_tokens is None else max_tokens
        self.context = min(context, config.text_config.max_position_embeddings)
        self.seed = seed
        self.schedule = Schedule.of(self.model.generation_config)
        ends = self.model.generation_config.eos_token_id
        ends = config.text_config.eos_token_id if ends is None else ends
        self.eos_ids: tuple[int, ...] = (ends,) if isinstance(ends, int) else tuple(ends)
        self.plain = Tokenizer(self._tokenizer.backend_tokenizer, None, {})

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Prompt ids, ending where the reply begins.

        Raises:
            ResponderError: the chat template refuses, or prompt and reply exceed the context.
        """
        ids = chat_ids(self._tokenizer, self.plain, messages)
        if len(ids) + self.max_tokens + self.model.config.canvas_length > self.context:
            raise ResponderError(
                f"A prompt of {len(ids)} tokens and a reply of {self.max_tokens} do not fit the "
                f"context of {self.context}: shorten the history."
            )
        return ids

    def open(self) -> DiffusionGemmaCall:
        return DiffusionGemmaCall(self)

    def generator(self) -> torch.Generator:
        """A random generator for one reply."""
        return torch.Generator(self.model.device).manual_seed(self.seed)

    def warm_up(self) -> None:
        """Run the encoder and one step, so that no caller pays for the first of each."""
        prompt = GemmaPrompt(self.model)
        prompt.read(self.eos_ids[:1])
        GemmaCanvas(self.model, prompt, self.schedule, self.generator()).step()

    def close(self) -> None:
        """Nothing to release: the weights go with the last reference."""


class DiffusionGemmaCall:
    """One call: its prompt cache, filled while the caller speaks and kept between turns."""

    def __init__(self, responder: DiffusionGemmaResponder) -> None:
        self._responder = responder
        self._prompt = GemmaPrompt(responder.model)

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        return self._prompt.read(self._responder.encode_chat(messages))

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        """See `ResponderCall.reply`; a deadline changes nothing: the model's rule ends a canvas."""
        owner = self._responder
        ids = owner.encode_chat(messages)
        prefilled = self._prompt.read(ids)
        yield prefilled
        begin, generator = perf_counter(), owner.generator()
        speakable, final, steps = ReplyDetokenizer(owner.plain), list[int](), 0
        while True:
            canvas = GemmaCanvas(owner.model, self._prompt, owner.schedule, generator)
            while not canvas.done:
                mark, steps = perf_counter(), steps + 1
                canvas.step()
                yield self._shown(steps, final, canvas, (perf_counter() - mark) * 1e3)
            final += canvas.ids
            end = finished_before(final, owner.eos_ids)
            text = speakable.push(final[len(speakable.ids) : min(end, owner.max_tokens)])
            if text:
                yield ReplyText(text)
            if end < len(final) or len(final) >= owner.max_tokens:
                break
            self._prompt.read([*ids, *final])
        rest, ended = speakable.finish(complete=end < len(final) and end <= owner.max_tokens)
        if rest:
            yield ReplyText(rest)
        tokens = len(speakable.ids) + (ended == "eos")
        stats = {
            "tokens": tokens,
            "tokens_per_forward": tokens / steps,
            "cached_tokens": prefilled.cached_tokens,
            "new_tokens": prefilled.new_tokens,
            "cache_bytes": self._prompt.nbytes,
            "cut": float(ended != "eos"),
        }
        milliseconds = (perf_counter() - begin) * 1e3
        yield ReplyDone(speakable.text, steps, steps, prefilled.ms, milliseconds, stats)

    def _shown(
        self, step: int, before: Sequence[int], canvas: GemmaCanvas, milliseconds: float
    ) -> CanvasStep:
        """The step as a piece; its number of steps is unknown: a canvas ends when it is stable."""
        masked = (*[False] * len(before), *canvas.open)
        words = (
            "" if hidden else self._responder.plain.decode([token])
            for hidden, token in zip(masked, [*before, *canvas.ids], strict=True)
        )
        confidence = (*[1.0] * len(before), *canvas.confidence)
        return CanvasStep(step, None, tuple(words), masked, confidence, milliseconds)

    def close(self) -> None:
        self._prompt = GemmaPrompt(self._responder.model)


def _load(source: str | Path, number_format: torch.dtype) -> tuple[Any, Any]:
    """The model in evaluation mode and its tokenizer.

    Raises:
        ResponderError: they are missing, or of another model type.
    """
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type != "diffusion_gemma":
            raise ResponderError(
                f"{source} is a {config.model_type}, not a diffusion_gemma: give the model as "
                f"{CHECKPOINT}, or a directory of such weights, or use the responder diffusion."
            )
        tokenizer = AutoTokenizer.from_pretrained(source)
        model: Any = DiffusionGemmaForBlockDiffusion.from_pretrained(source, dtype=number_format)
    except (OSError, ValueError) as error:
        raise ResponderError(
            f"No DiffusionGemma can be loaded from {source}: {error} Give the model as "
            f"{CHECKPOINT}, or a directory of such weights."
        ) from error
    return model.eval(), tokenizer
