"""References for the cost of a step: transformers, and a model with next to no arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from dllm_core.bench.timing import CACHED, Row, timed
from dllm_core.engine import Engine
from dllm_core.model import weights
from dllm_core.model.families import HUGGING_FACE
from dllm_core.model.transformer import Linear, Transformer

_WIDTH, _TOKENS = 64, 16


class TransformersSteps:
    """Steps through transformers' own class, in float32, from the same GGUF file.

    A step runs some rows after `cached` ones in a DynamicCache and takes the best token of every
    row, as the engine's step does. Rows attend to those before them only; the work is the same.
    """

    def __init__(self, path: Path, cached: int = CACHED) -> None:
        from transformers import AutoModelForCausalLM, DynamicCache
        from transformers.utils import logging

        quiet: Any = logging
        quiet.disable_progress_bar()
        kind: Any = AutoModelForCausalLM
        self._model: Any = kind.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        ).eval()
        self._past: Any = DynamicCache(config=self._model.config)
        with torch.inference_mode():
            self._model(torch.zeros((1, cached), dtype=torch.long), past_key_values=self._past)

    def step(self, rows: int) -> Callable[[], object]:
        """An action that runs one step over `rows` positions."""
        ids = torch.zeros((1, rows), dtype=torch.long)

        @torch.inference_mode()
        def run() -> None:
            self._model(ids, past_key_values=self._past).logits.argmax(-1).tolist()
            self._past.crop(-rows)

        return run


def overhead(engine: Engine, cached: int = CACHED) -> Row:
    """Milliseconds of a step beside its arithmetic.

    The measured model has the same depth, configuration and kind of layers, but is only 64 wide
    and has 256 tokens: it runs all code of the engine with next to no arithmetic. `ms` is the time
    of a step outside the forward pass (planning, deciding, the view and the text), `forward_ms`
    the pass itself (torch's dispatch of every operator or, over packed weights, the start of
    every kernel). One thread is used, for waking others would be counted, too.
    """
    clocked: Any = _Clocked(_shadow(engine))
    shadow = Engine(clocked, engine.tokenizer, engine.context)
    options = replace(shadow.default_options, max_tokens=_TOKENS)
    cache = shadow.new_cache()
    ours, forward = [], []

    def reply() -> None:
        clocked.seconds, begin = 0.0, perf_counter()
        steps = shadow.reply([3] * cached, cache, options).stats.forwards
        total = perf_counter() - begin
        ours.append((total - clocked.seconds) * 1e3 / steps)
        forward.append(clocked.seconds * 1e3 / steps)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timed(reply)
    finally:
        torch.set_num_threads(threads)
    return {
        "what": "overhead",
        "positions": options.canvas_length,
        "cached": cached,
        "ms": median(ours),
        "forward_ms": median(forward),
    }


class _Clocked:
    """A transformer that adds up the seconds of its passes."""

    def __init__(self, model: Transformer) -> None:
        self._model, self.seconds = model, 0.0

    def __call__(self, *arguments: Any) -> torch.Tensor:
        return self._counted(self._model, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._counted(self._model.logits, hidden)

    def _counted(self, function: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
        begin = perf_counter()
        result = function(*arguments)
        self.seconds += perf_counter() - begin
        return result


def _shadow(engine: Engine) -> Transformer:
    """A narrow model of the engine's depth and kind of layers; all weights are zero."""
    config = replace(
        engine.config,
        vocab_size=256,
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_heads=2,
        num_kv_heads=1,
        head_dim=_WIDTH // 2,
        eos_ids=(1,),
        mask_id=None if engine.config.mask_id is None else 2,
    )
    layer: Any = engine.model.blocks[0]
    place = (engine.context, engine.dtype, engine.device)
    model = weights.build(config, type(layer.mlp.down), *place)
    shapes = weights.build(config, Linear, *place)
    tensors = (
        (name, torch.zeros_like(_part(shapes, slot)))
        for name, slot in weights.slots(config, HUGGING_FACE).items()
    )
    weights.fill(model, HUGGING_FACE, tensors)
    return model


def _part(model: torch.nn.Module, slot: weights.TensorRows) -> torch.Tensor:
    owner, _, attribute = slot.parameter.rpartition(".")
    part: torch.Tensor = getattr(model.get_submodule(owner), attribute)[slot.rows]
    return part
