"""Several replies in one batch against the same replies one after another, by CPU time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter, process_time

from dllm_core.bench.timing import CACHED, Row
from dllm_core.config import DecodeOptions
from dllm_core.decode.batch import Batch
from dllm_core.decode.denoise import Denoiser
from dllm_core.decode.requests import Ticket
from dllm_core.engine import Engine

CALLS = (1, 2, 4, 8)
_TOKENS = 24


def batch(engine: Engine, tokens: int = _TOKENS) -> Iterator[Row]:
    """Replies of equal length to different prompts; `positions` are those of one canvas."""
    options = replace(engine.default_options, max_tokens=tokens)
    for calls in CALLS:
        shared, tickets = _ready(engine, options, calls)
        begin, cpu, forwards = perf_counter(), process_time(), 0
        while not shared.idle:
            shared.step()
            forwards += 1
        for error in (ticket.error for ticket in tickets if ticket.error is not None):
            raise error
        wall, cpu = perf_counter() - begin, process_time() - cpu
        yield {
            "what": "batch",
            "calls": calls,
            "positions": options.canvas_length,
            "cached": CACHED,
            "forwards": forwards,
            "ms_per_reply": wall * 1e3 / calls,
            "cpu_ms_per_reply": cpu * 1e3 / calls,
            "ms_per_step": wall * 1e3 / forwards,
        }


def _ready(
    engine: Engine, options: DecodeOptions, calls: int
) -> tuple[Batch, list[Ticket[Denoiser]]]:
    """As many replies whose prompts are read."""
    shared = Batch(engine.model, size=calls)
    prompts = ([3 + call] * CACHED for call in range(calls))
    replies = [engine.begin(prompt, engine.new_cache(), options) for prompt in prompts]
    return shared, [shared.submit(reply) for reply in replies]
