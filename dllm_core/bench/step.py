"""One denoising step of several engines in turn, and the other costs of a turn for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

import torch

from dllm_core.bench.reference import TransformersSteps, overhead
from dllm_core.bench.timing import CACHED, Row, Time, in_turn, timed
from dllm_core.config import DecodeOptions
from dllm_core.decode.calibrate import step_over
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.diffusion import Diffusion
from dllm_core.engine import Engine

POSITIONS = (1, 2, 4, 8, 16, 32, 64)
_CANVAS = 32


class _Contestant(NamedTuple):
    label: Row
    step: Callable[[int], Callable[[], object]]
    """Makes an action that runs one step over a number of positions."""


def step(
    engines: Mapping[str, Engine],
    transformers: TransformersSteps | None = None,
    cached: int = CACHED,
) -> Iterator[Row]:
    """Cost of a step by canvas length after `cached` tokens, engines and transformers in turn.

    Then, for each engine, the cost of reading one more word, of its own code beside the
    arithmetic, and of choosing the positions to commit. `engines` are named by their dtype.

    `times_faster` is the median, over the rounds, of transformers' time over this one's.
    """
    contestants = [
        _Contestant({"dtype": dtype, "what": "step"}, partial(_step, engine, cached))
        for dtype, engine in engines.items()
    ]
    if transformers is not None:
        label = {"dtype": "float32", "what": "transformers"}
        contestants.append(_Contestant(label, transformers.step))
    for rows in POSITIONS:
        times = in_turn([contestant.step(rows) for contestant in contestants])
        for contestant, own in zip(contestants, times, strict=True):
            row = {**contestant.label, "positions": rows, "cached": cached, **_medians(own)}
            if transformers is not None and own is not times[-1]:
                row["times_faster"] = faster(times[-1], own)
            yield row
    for dtype, engine in engines.items():
        yield {"dtype": dtype, **_one_more_word(engine, cached)}
        yield {"dtype": dtype, **overhead(engine, cached)}
        yield {"dtype": dtype, **_deciding(engine)}


def _step(engine: Engine, cached: int, rows: int) -> Callable[[], object]:
    return step_over(engine.model, rows, cached + rows, engine.context)


def _medians(times: list[Time]) -> Row:
    return {"ms": median(t.wall for t in times), "cpu_ms": median(t.cpu for t in times)}


def faster(reference: list[Time], own: list[Time]) -> float:
    """Median, over the rounds, of the reference's time divided by the engine's."""
    return median(a.wall / b.wall for a, b in zip(reference, own, strict=True))


def _one_more_word(engine: Engine, cached: int) -> Row:
    prompt = [engine.config.eos_ids[0] if engine.config.eos_ids else 0] * cached
    cache = engine.new_cache()
    engine.prefill(prompt, cache)

    def read() -> None:
        # The word, and the closing of the message that moves behind it.
        cache.crop(min(len(cache), cached - 6))
        engine.prefill(prompt, cache)

    wall, cpu = timed(read)
    return {"what": "prefill", "positions": 6, "cached": cached - 6, "ms": wall, "cpu_ms": cpu}


def _deciding(engine: Engine) -> Row:
    """Cost of ranking 32 open positions, which `overhead` leaves out: it grows with the vocabulary.

    The rule is `quota` by probability; the logits are drawn at random.
    """
    config = replace(engine.config, attention="bidirectional", mask_id=0, eos_ids=())
    options = DecodeOptions(rule="quota", canvas_length=_CANVAS, max_tokens=_CANVAS)
    cache = engine.contiguous_cache()
    logits = torch.randn(_CANVAS, config.vocab_size, device=engine.device)

    def decide() -> None:
        canvas = Canvas.after(config, [0], _CANVAS, engine.device)
        Diffusion(config, canvas, cache, options).absorb(logits)

    wall, cpu = timed(decide)
    return {"what": "decide", "positions": _CANVAS, "ms": wall, "cpu_ms": cpu}
