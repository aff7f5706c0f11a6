"""Cost of a reply by the number of replies in one batch, in CPU time and in wall time."""

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

SEQUENCES = (1, 2, 4, 8)
_TOKENS = 24


def batch(engine: Engine, tokens: int = _TOKENS) -> Iterator[Row]:
    """Replies of equal length to different prompts; `positions` are those of one canvas."""
    options = replace(engine.default_options, max_tokens=tokens)
    for sequences in SEQUENCES:
        shared, tickets = _ready(engine, options, sequences)
        begin, cpu, forwards = perf_counter(), process_time(), 0
        while not shared.idle:
            shared.step()
            forwards += 1
        for error in (ticket.error for ticket in tickets if ticket.error is not None):
            raise error
        wall, cpu = perf_counter() - begin, process_time() - cpu
        yield {
            "what": "batch",
            "sequences": sequences,
            "positions": options.canvas_length,
            "cached": CACHED,
            "forwards": forwards,
            "ms_per_reply": wall * 1e3 / sequences,
            "cpu_ms_per_reply": cpu * 1e3 / sequences,
            "ms_per_step": wall * 1e3 / forwards,
        }


def _ready(
    engine: Engine, options: DecodeOptions, sequences: int
) -> tuple[Batch, list[Ticket[Denoiser]]]:
    """A batch of so many replies whose prompts are read, and their tickets."""
    shared = Batch(engine.model, size=sequences)
    prompts = ([3 + sequence] * CACHED for sequence in range(sequences))
    replies = [engine.begin(prompt, engine.new_cache(), options) for prompt in prompts]
    return shared, [shared.submit(reply) for reply in replies]
