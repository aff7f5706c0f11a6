"""The two parts of a DiffusionGemma reply: the prompt that is read, the canvas denoised after it.

They are the loop of transformers' `DiffusionGemmaGenerationMixin.generate`, in steps that can be
shown and cancelled. The same generator and seed give the tokens of `generate`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.models.diffusion_gemma.generation_diffusion_gemma import (
    DiffusionGemmaGenerationConfig,
    EntropyBoundSampler,
    EntropyBoundSamplerConfig,
    LinearTemperatureScheduleLogitsProcessor,
    StableAndConfidentStoppingCriteria,
)

from agent.responders.transformers_parts import TokenCache


@dataclass(frozen=True, slots=True)
class Schedule:
    """Options of denoising a canvas. Defaults are those of transformers' `generate`.

    Attributes:
        steps: most steps; a canvas that is stable and sure ends earlier.
        entropy_bound: entropy up to which positions are kept, in nats.
        t_min: lowest temperature.
        t_max: temperature of the first step; it falls linearly towards `t_min`.
        stability: steps for which the best tokens must stay the same.
        confidence: mean entropy in nats below which the canvas may end.
    """

    steps: int = 48
    entropy_bound: float = 0.1
    t_min: float = 0.4
    t_max: float = 0.8
    stability: int = 1
    confidence: float = 0.005

    @classmethod
    def of(cls, stated: DiffusionGemmaGenerationConfig) -> Schedule:
        """The schedule of a generation_config.json, with defaults for missing fields."""
        sampler = stated.sampler_config
        values: dict[str, Any] = {
            "steps": stated.max_denoising_steps,
            "entropy_bound": None if sampler is None else sampler.entropy_bound,
            "t_min": stated.t_min,
            "t_max": stated.t_max,
            "stability": stated.stability_threshold,
            "confidence": stated.confidence_threshold,
        }
        return cls(**{name: value for name, value in values.items() if value is not None})


class GemmaPrompt(TokenCache):
    """The prompt cache of one call, read by the encoder.

    All positions are kept, those that have left a sliding window, too: a prompt can then be cut
    back to any length and read on.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model
        config = model.config.get_text_config(decoder=True)
        make_cache: Any = DynamicCache
        self._cache = make_cache(config=config)
        self._cache.activate_past_recording()

    @torch.inference_mode()
    def _crop(self, length: int) -> None:
        # The cache's own `crop` would also drop what has left the window, once and for all.
        for layer in self._cache.layers:
            if layer.is_initialized:
                layer.keys = layer.keys[..., :length, :]
                layer.values = layer.values[..., :length, :]
            if layer.is_sliding:
                layer.cumulative_length = min(layer.cumulative_length, length)

    @torch.inference_mode()
    def _append(self, ids: Sequence[int]) -> None:
        encoder, device = self._model.model.encoder, self._model.device
        tokens = torch.tensor([ids], device=device)
        positions = torch.arange(len(self.ids), len(self.ids) + len(ids), device=device)[None]
        seen = torch.ones((1, len(self.ids) + len(ids)), dtype=torch.bool, device=device)
        masks = encoder.create_masks_for_generate(
            config=self._model.config,
            inputs_embeds=torch.empty((1, len(ids), 0), dtype=self._model.dtype, device=device),
            attention_mask=seen,
            past_key_values=self._cache,
            position_ids=positions,
        )
        encoder(
            input_ids=tokens,
            attention_mask=masks,
            position_ids=positions,
            past_key_values=self._cache,
        )
        self.ids.extend(ids)

    def for_decoder(self) -> Any:
        """The keys and values within the decoder's window; tensors are shared, not copied."""
        seen = copy.copy(self._cache)
        seen.layers = [copy.copy(layer) for layer in self._cache.layers]
        seen.crop(0)
        return seen

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the keys and values take."""
        tensors = (t for layer in self._cache.layers for t in (layer.keys, layer.values))
        return sum(t.nbytes for t in tensors if t is not None)


class _SeededSampler(EntropyBoundSampler):
    """An entropy-bound sampler with a random generator of its own instead of the process's."""

    def __init__(self, generator: torch.Generator, bound: float, length: int, vocab: int) -> None:
        super().__init__(EntropyBoundSamplerConfig(bound), length, vocab, 0)
        self.generator = generator

    def initialize_canvas(self, batch_size: int, device: torch.device) -> Any:
        size = (batch_size, self.canvas_length)
        return torch.randint(self.vocab_size, size, generator=self.generator, device=device)


class GemmaCanvas:
    """A canvas of random tokens that becomes text step by step.

    At every step the decoder predicts all positions; the surest are kept, all others become
    random again. Kept tokens may still change until `done`.

    Attributes:
        done: whether the canvas is final.
        ids: the likeliest token of each position.
        open: whether the last step made the position random again.
        confidence: probability of each of `ids`, 0 to 1.
    """

    def __init__(
        self, model: Any, prompt: GemmaPrompt, schedule: Schedule, generator: torch.Generator
    ) -> None:
        self._model, self._past = model, prompt.for_decoder()
        self._steps_left, self.done = schedule.steps, False
        length, vocab = model.config.canvas_length, model.config.text_config.vocab_size
        self._sampler: Any = _SeededSampler(generator, schedule.entropy_bound, length, vocab)
        self._temper: Any = LinearTemperatureScheduleLogitsProcessor(
            schedule.t_min, schedule.t_max, schedule.steps
        )
        self._settled: Any = StableAndConfidentStoppingCriteria(
            schedule.stability, schedule.confidence
        )
        self._canvas = self._sampler.initialize_canvas(1, model.device)
        start = len(prompt.ids)
        self._positions = torch.arange(start, start + length, device=model.device)[None]
        self._logits: Tensor | None = None
        self.ids: list[int] = []
        self.open: list[bool] = []
        self.confidence: list[float] = []

    @torch.inference_mode()
    def step(self) -> None:
        """Run one pass of the decoder over the canvas."""
        raw = self._model(
            decoder_input_ids=self._canvas,
            self_conditioning_logits=self._logits,
            past_key_values=self._past,
            decoder_position_ids=self._positions,
        ).logits
        logits = self._temper(self._canvas, raw, cur_step=self._steps_left)
        probabilities = logits[0].softmax(dim=-1, dtype=torch.float32)
        drawn = torch.multinomial(probabilities, 1, generator=self._sampler.generator).T
        kept = self._sampler.accept_canvas(self._canvas, drawn, logits, self._steps_left)
        self._canvas = self._sampler.renoise_canvas(kept, self._steps_left)
        best = logits.argmax(dim=-1)
        self._steps_left -= 1
        self.done = bool(self._settled(best, logits)) or self._steps_left == 0
        self._logits = logits.to(self._model.dtype)
        self.ids = best[0].tolist()
        accepted = self._sampler.accepted_token_mask[0].tolist()
        self.open = [not self.done and not kept for kept in accepted]
        self.confidence = probabilities.amax(dim=-1).tolist()
