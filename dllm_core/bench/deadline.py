"""Replies with a deadline on the real clock, alone and beside a thread that computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from hashlib import sha256
from statistics import mean
from threading import Event, Thread

from dllm_core.bench.timing import CACHED, Row
from dllm_core.config import DecodeOptions
from dllm_core.decode.backend import Cache
from dllm_core.engine import Engine

DEADLINES_MS = (100.0, 200.0, 400.0)
_POSITIONS = 32


@dataclass(frozen=True, slots=True)
class _Timed:
    """One reply beside its deadline.

    `late_ms` is 0 in time, `late_steps` the same in steps as long as the last one. `error` is that
    of the last step's expected time, as a share of the time it took; None after a single step.
    """

    ms: float
    late_ms: float
    late_steps: float
    steps: int
    error: float | None


def deadline(engine: Engine, replies: int = 20) -> Iterator[Row]:
    """Replies of 32 positions after 200 cached tokens, in as many steps as fit; rows as they come.

    A model that was never taught to denoise is run as if it had been: the text is meaningless,
    the cost of its steps is the same. No reply ends early.
    """
    timed = _denoising(engine)
    prompt = [engine.config.eos_ids[0]] * CACHED
    cache = timed.new_cache()
    timed.prefill(prompt, cache)
    for busy in (False, True):
        with _computing() if busy else nullcontext():
            for limit in DEADLINES_MS:
                found = [_timed(timed, prompt, cache, limit) for _ in range(replies)]
                errors = [reply.error for reply in found if reply.error is not None]
                yield {
                    "what": "deadline",
                    "deadline_ms": limit,
                    "busy": busy,
                    "positions": _POSITIONS,
                    "cached": CACHED,
                    "replies": replies,
                    "in_time": mean(reply.late_ms == 0 for reply in found),
                    "worst_late_ms": max(reply.late_ms for reply in found),
                    "worst_late_steps": max(reply.late_steps for reply in found),
                    "ms": mean(reply.ms for reply in found),
                    "steps": mean(reply.steps for reply in found),
                    "expected_off": mean(errors) if errors else None,
                }


def _denoising(engine: Engine) -> Engine:
    """An engine of the same weights, configured with a mask token and without an end of reply."""
    mask = engine.config.eos_ids[0] if engine.config.mask_id is None else engine.config.mask_id
    model = copy(engine.model)
    model.config = replace(engine.config, mask_id=mask, eos_ids=())
    other = Engine(model, engine.tokenizer, engine.context)
    other.host.measure(DecodeOptions(rule="quota"))
    return other


def _timed(engine: Engine, prompt: list[int], cache: Cache, limit: float) -> _Timed:
    options = DecodeOptions(
        rule="quota", canvas_length=_POSITIONS, max_tokens=_POSITIONS, deadline_ms=limit
    )
    expected, last = None, None
    for last in engine.iterate(prompt, cache, options):
        if last.stats is None:
            expected = engine.host.cost.predict(_POSITIONS + 1, CACHED + _POSITIONS)
    assert last is not None
    assert last.stats is not None
    late = max(0.0, last.stats.ms - limit)
    error = None if expected is None else abs(expected - last.ms) / last.ms
    return _Timed(last.stats.ms, late, late / last.ms, last.step, error)


@contextmanager
def _computing() -> Iterator[None]:
    """A thread that keeps a core busy without holding Python's lock."""
    stop, block = Event(), bytes(2**20)

    def burn() -> None:
        while not stop.is_set():
            sha256(block).digest()

    thread = Thread(target=burn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
