"""Measurements of the engine: `python -m dllm_core.bench step|reply|cache MODEL [--json]`.

Times are medians after a warm-up, in milliseconds of the wall clock. `cpu_ms` counts the
process's own CPU time, which a busy machine distorts less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import Any, get_args

import torch

from dllm_core.config import CachePolicy, DecodeOptions
from dllm_core.engine import Engine
from dllm_core.place import Dtype

Row = dict[str, Any]

SYSTEM = "You are a helpful voice assistant. Answer in one or two short sentences."
QUESTIONS = (
    "What is the capital of Japan?",
    "How many legs does a spider have?",
    "Who wrote Romeo and Juliet?",
    "What do bees make?",
    "What is the largest planet?",
    "Where do penguins live?",
)
_REPEATS = 7


def _timed(action: Callable[[], object], repeats: int = _REPEATS) -> tuple[float, float]:
    """Median wall and CPU milliseconds."""
    action()
    wall, cpu = [], []
    for _ in range(repeats):
        begin, begin_cpu = perf_counter(), process_time()
        action()
        wall.append((perf_counter() - begin) * 1e3)
        cpu.append((process_time() - begin_cpu) * 1e3)
    return median(wall), median(cpu)


def step(engine: Engine, cached: int = 200) -> Iterator[Row]:
    """One step by canvas length after `cached` tokens, and reading one more word."""
    for rows in (1, 2, 4, 8, 16, 32, 64):
        wall, cpu = _timed(partial(engine.step_ms, rows, cached + rows, repeats=1))
        yield {"what": "step", "positions": rows, "cached": cached, "ms": wall, "cpu_ms": cpu}
    token = engine.config.eos_ids[0]
    cache = engine.new_cache()
    prompt = [token] * cached
    engine.prefill(prompt, cache)

    def one_more_word() -> None:
        cache.crop(cached - 6)  # the word, and the closing of the message that moves behind it
        engine.prefill(prompt, cache)

    wall, cpu = _timed(one_more_word)
    yield {"what": "prefill", "positions": 6, "cached": cached - 6, "ms": wall, "cpu_ms": cpu}


def reply(engine: Engine, lengths: tuple[int, ...] = (1, 2, 3, 4, 6, 8)) -> Iterator[Row]:
    """Whole replies with a cached prompt, by canvas length."""
    prompts = [engine.encode_chat([("system", SYSTEM), ("user", q)]) for q in QUESTIONS]
    for length in lengths:
        options = replace(engine.default_options, canvas_length=length, max_tokens=24)
        cpu, stats = process_time(), []
        for ids in prompts:
            cache = engine.new_cache()
            engine.prefill(ids, cache)
            stats.append(engine.reply(ids, cache, options).stats)
        tokens, forwards = sum(s.tokens for s in stats), sum(s.forwards for s in stats)
        yield {
            "what": "reply",
            "canvas": length,
            "tokens": tokens,
            "tokens_per_forward": tokens / forwards,
            "ms_per_token": sum(s.ms for s in stats) / tokens,
            "cpu_ms_per_token": (process_time() - cpu) * 1e3 / tokens,
        }


def cache(engine: Engine, options: DecodeOptions | None = None) -> Iterator[Row]:
    """Agreement of each cache policy with `none`: share of equal tokens, and of equal replies."""
    options = options or DecodeOptions(
        rule="quota", canvas_length=32, max_tokens=32, block_length=8
    )
    causal = engine.config.attention == "block_causal"
    policies: tuple[CachePolicy, ...] = (
        ("exact",) if causal else ("prompt_frozen", "prefix", "dual")
    )
    prompts = [engine.encode_chat([("system", SYSTEM), ("user", q)]) for q in QUESTIONS]
    expected = [engine.reply(p, options=replace(options, cache="none")).ids for p in prompts]
    for policy in policies:
        found = [engine.reply(p, options=replace(options, cache=policy)).ids for p in prompts]
        pairs = list(zip(expected, found, strict=True))
        equal = sum(a == b for x, y in pairs for a, b in zip(x, y, strict=False))
        total = sum(max(len(x), len(y)) for x, y in pairs)
        yield {
            "what": "cache",
            "policy": policy,
            "equal_tokens": equal / max(total, 1),
            "equal_replies": sum(x == y for x, y in pairs) / len(pairs),
        }


BENCHES: dict[str, Callable[[Engine], Iterator[Row]]] = {
    "step": step,
    "reply": reply,
    "cache": cache,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dllm_core.bench", description=__doc__)
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("model", help="GGUF file, directory or Hugging Face name")
    parser.add_argument("--dtype", choices=get_args(Dtype), nargs="+", default=["auto"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    for dtype in arguments.dtype:
        engine = Engine.load(arguments.model, dtype=dtype, threads=arguments.threads)
        engine.warm_up()
        for row in BENCHES[arguments.bench](engine):
            row = {"dtype": dtype, "threads": arguments.threads, **row}
            print(json.dumps(row) if arguments.json else _line(row))
            sys.stdout.flush()


def _line(row: Row) -> str:
    return "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())


if __name__ == "__main__":
    main()
