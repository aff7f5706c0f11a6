"""Measurements of the engine: `python -m dllm_core.bench WHAT MODEL [--json]`.

WHAT is step, reply, cache, agree, deadline or batch.

Times are medians after a warm-up, in milliseconds of the wall clock. `cpu_ms` counts the
process's own CPU time, which a busy machine distorts less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from time import monotonic, process_time
from typing import get_args

import torch

from dllm_core.bench.batch import batch
from dllm_core.bench.deadline import deadline
from dllm_core.bench.prompts import QUESTIONS, SYSTEM
from dllm_core.bench.reference import TransformersSteps
from dllm_core.bench.step import step
from dllm_core.bench.timing import Row
from dllm_core.config import CachePolicy, DecodeOptions
from dllm_core.engine import Engine
from dllm_core.errors import DllmError, OptionError
from dllm_core.model.place import Dtype

BENCHES = ("step", "reply", "cache", "agree", "deadline", "batch")
Report = Callable[[str], None]
"""Callback for progress: a few words on the present work."""

_FEW = 6
"""Questions of the benches that denoise every reply several times."""


def reply(engine: Engine, lengths: tuple[int, ...] = (1, 2, 3, 4, 6, 8)) -> Iterator[Row]:
    """Whole replies with a cached prompt, by canvas length."""
    prompts = prompts_of(engine, _FEW)
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


def prompts_of(engine: Engine, count: int) -> list[list[int]]:
    """Ids of the first questions."""
    return [engine.encode_chat([("system", SYSTEM), ("user", q)]) for q in QUESTIONS[:count]]


def cache(engine: Engine, options: DecodeOptions | None = None) -> Iterator[Row]:
    """Agreement of each cache policy with `none`: share of equal tokens, and of equal replies.

    A model that was never taught to denoise replies token by token here: without a cache every
    token takes a pass over the whole sequence.
    """
    if options is None and engine.config.mask_id is None:
        options = DecodeOptions(rule="sequential", canvas_length=1, max_tokens=24)
    elif options is None:
        options = DecodeOptions(rule="quota", canvas_length=32, max_tokens=32, block_length=8)
    causal = engine.config.attention == "block_causal"
    policies: tuple[CachePolicy, ...] = (
        ("exact",) if causal else ("prompt_frozen", "prefix", "dual")
    )
    prompts = prompts_of(engine, _FEW)
    expected = [engine.reply(p, options=replace(options, cache="none")).ids for p in prompts]
    for policy in policies:
        found = [engine.reply(p, options=replace(options, cache=policy)).ids for p in prompts]
        yield {"what": "cache", "policy": policy, **_agreement(expected, found)}


def agree(
    engines: Mapping[str, Engine],
    reference: Engine,
    report: Report,
    *,
    count: int = len(QUESTIONS),
    seconds: float | None = None,
    clock: Callable[[], float] = monotonic,
) -> Iterator[Row]:
    """Agreement of the replies of engines, named by their dtype, with those of a reference.

    Every question is put to all of them in turn; after `seconds` no further one is begun, and the
    rows say how many there were. The first one is always put.
    """
    end = inf if seconds is None else clock() + seconds
    expected: list[Sequence[int]] = []
    found: dict[str, list[Sequence[int]]] = {name: [] for name in engines}
    for i, prompt in enumerate(prompts_of(reference, count), 1):
        if expected and clock() >= end:
            break
        equal = (f"{name} {_equal(expected, own)}" for name, own in found.items())
        report(f"question {i} of {count}, equal replies so far: {', '.join(equal)}")
        options = replace(reference.default_options, max_tokens=48)
        expected.append(reference.reply(prompt, options=options).ids)
        for name, engine in engines.items():
            options = replace(engine.default_options, max_tokens=48)
            found[name].append(engine.reply(prompt, options=options).ids)
    for name, own in found.items():
        label: Row = {"dtype": name, "what": "agree", "replies": len(own), "of": count}
        yield label | _agreement(expected, own)


def _equal(expected: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> int:
    return sum(x == y for x, y in zip(expected, found, strict=True))


def _agreement(expected: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> Row:
    pairs = list(zip(expected, found, strict=True))
    equal = sum(a == b for x, y in pairs for a, b in zip(x, y, strict=False))
    total = sum(max(len(x), len(y)) for x, y in pairs)
    return {
        "equal_tokens": equal / max(total, 1),
        "equal_replies": _equal(expected, found) / len(pairs),
    }


def measure(
    what: str,
    source: str | Path,
    dtypes: Sequence[Dtype],
    *,
    device: str = "auto",
    threads: int | None = None,
    seconds: float | None = None,
    report: Report = lambda line: None,
) -> Iterator[Row]:
    """Load a model in each dtype and measure it; rows as they come.

    Args:
        what: name of the bench, one of `BENCHES`.
        source, device, threads: as in `Engine.load`.
        dtypes: number formats to measure.
        seconds: time after which `agree` begins no further question.
        report: told the present work.

    Raises:
        OptionError: `agree` compares float32 with itself, or the model does not run in one of the
            dtypes.
        ModelFileError, UnsupportedModelError, WeightsError: as `Engine.load`.
    """
    if what == "agree" and "float32" in dtypes:
        raise OptionError("agree compares with float32: give another dtype, such as int4.")

    def load(dtype: Dtype) -> Engine:
        report(f"loading {dtype}")
        engine = Engine.load(source, dtype=dtype, device=device, threads=threads)
        engine.warm_up()
        return engine

    place: Row = {"threads": threads or torch.get_num_threads()}
    if what in ("step", "agree"):
        engines: dict[str, Engine] = {dtype: load(dtype) for dtype in dtypes}
        if what == "agree":
            rows = agree(engines, load("float32"), report, seconds=seconds)
        else:
            report("measuring")
            rows = step(engines, _transformers(source, engines, report))
        for row in rows:
            yield {**place, **row}
        return
    for dtype in dtypes:
        engine = load(dtype)
        report(f"measuring {dtype}")
        for row in _ALONE[what](engine):
            yield {"dtype": dtype, **place, **row}


_ALONE: dict[str, Callable[[Engine], Iterator[Row]]] = {
    "reply": reply,
    "cache": cache,
    "deadline": deadline,
    "batch": batch,
}
"""Benches that measure one engine after another."""


def _transformers(
    source: str | Path, engines: Mapping[str, Engine], report: Report
) -> TransformersSteps | None:
    """The same model in transformers, where that reads the GGUF file (a llama's); else None."""
    path, engine = Path(source), next(iter(engines.values()))
    on_cpu = engine.device.type == "cpu"
    if path.suffix != ".gguf" or not on_cpu or engine.config.family != "llama":
        return None
    report("loading transformers")
    return TransformersSteps(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dllm_core.bench", description=__doc__)
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("model", help="GGUF file, directory or Hugging Face name")
    parser.add_argument("--dtype", choices=get_args(Dtype), nargs="+", default=["auto"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, help="time of agree; default: no limit")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    rows = measure(
        arguments.bench,
        arguments.model,
        arguments.dtype,
        threads=arguments.threads,
        seconds=arguments.seconds,
        report=lambda line: print(line, file=sys.stderr),
    )
    try:
        for row in rows:
            print(json.dumps(row) if arguments.json else _line(row), flush=True)
    except DllmError as error:
        parser.error(str(error))


def _line(row: Row) -> str:
    return "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
