"""Responder with the cost of LLaDA-8B that says a fixed sentence.

    ONEBREATH_RESPONDER__ENGINE=geometry_responder:GeometryResponder PYTHONPATH=benchmarks/gpu ...

The prompt is read into pages, grows with the conversation and is kept between turns; the canvas is
denoised in its true shape; the weights are random, so what comes out is not used. GEOMETRY_DTYPE
(bfloat16, fp8) and GEOMETRY_STEPS say how. Where there is no GPU the model is tiny.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import torch
from geometry import FIRST_WORD, REAL, SMALL, random_model

from agent.responders.base import (
    Message,
    Prefilled,
    ReplyDone,
    ReplyPiece,
    ReplyText,
    ResponderError,
)
from dllm_core.config import DecodeOptions
from dllm_core.errors import DllmError
from dllm_core.gpu.device import Device
from dllm_core.gpu.device_job import CanvasJob
from dllm_core.model.paged_cache import PagedCache
from dllm_core.model.pages import pages_for
from dllm_core.ops import PAGE

SENTENCE = "The capital of France is Paris."
BYTES_PER_TOKEN = 4
CALLS = 8
LONGEST = 2048
"""Tokens of a prompt."""


class GeometryResponder:
    """The model, shared by all calls."""

    def __init__(self) -> None:
        place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        sizes = REAL if place.type == "cuda" else SMALL
        dtype = os.environ.get("GEOMETRY_DTYPE", "bfloat16")
        steps = int(os.environ.get("GEOMETRY_STEPS", "16"))
        context = LONGEST + sizes.canvas
        model = random_model(sizes.config, dtype, context, place)
        self.words = min(sizes.config.vocab_size - FIRST_WORD, 256)
        self.device = Device(model, context, CALLS * pages_for(context, PAGE) + 1, sequences=CALLS)
        self.options = DecodeOptions(
            rule="quota", cache="prompt_frozen", canvas_length=sizes.canvas, steps=steps
        )

    def open(self) -> GeometryCall:
        return GeometryCall(self)

    def warm_up(self) -> None:
        self.device.warm_up(self.options, batches=(1,), contexts=(576,))

    def close(self) -> None:
        """Nothing to release."""


class GeometryCall:
    """One call and its pages."""

    def __init__(self, responder: GeometryResponder) -> None:
        self._responder, self._device = responder, responder.device
        self._cache: PagedCache | None = None

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        text = "\n".join(f"{message.role}: {message.content}" for message in messages)
        kept = text.encode()[::BYTES_PER_TOKEN][:LONGEST]
        return [FIRST_WORD + byte % self._responder.words for byte in kept]

    def _pages(self) -> PagedCache:
        if self._cache is None:
            self._cache = self._device.new_cache()
        return self._cache

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        try:
            stats = self._device.prefill(self._ids(messages), self._pages())
        except DllmError as error:
            raise ResponderError(str(error)) from error
        return Prefilled(stats.cached_tokens, stats.new_tokens, stats.ms)

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        ids, options = self._ids(messages), self._responder.options
        try:
            stats = self._device.read(ids, self._pages(), options)
            yield Prefilled(stats.cached_tokens, stats.new_tokens, stats.ms)
            job = CanvasJob(self._device.model, self._pages(), ids, options.canvas_length, options)
            ticket = self._device.submit(job)
            while not ticket.over:
                self._device.advance(ticket)
        except DllmError as error:
            raise ResponderError(str(error)) from error
        yield ReplyText(SENTENCE)
        steps, ms = len(ticket.work.views), sum(ms for _, ms in ticket.work.views)
        yield ReplyDone(
            text=SENTENCE,
            steps=steps,
            forwards=steps,
            prefill_ms=stats.ms,
            denoise_ms=ms,
            stats={"tokens": options.canvas_length, "cut": 0.0},
        )

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()
            self._cache = None
