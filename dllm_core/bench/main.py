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
from pathlib import Path
from time import process_time
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
    engine: Engine, reference: Engine, report: Report, count: int = len(QUESTIONS)
) -> Iterator[Row]:
    """Agreement of the replies of two engines, of different dtypes, to the same questions."""
    options = replace(engine.default_options, max_tokens=48)
    expected, found = [], []
    for i, prompt in enumerate(prompts_of(engine, count), 1):
        report(f"question {i} of {count}")
        expected.append(reference.reply(prompt, options=options).ids)
        found.append(engine.reply(prompt, options=options).ids)
    yield {"what": "agree", "replies": count, **_agreement(expected, found)}


def _agreement(expected: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> Row:
    pairs = list(zip(expected, found, strict=True))
    equal = sum(a == b for x, y in pairs for a, b in zip(x, y, strict=False))
    total = sum(max(len(x), len(y)) for x, y in pairs)
    return {
        "equal_tokens": equal / max(total, 1),
        "equal_replies": sum(x == y for x, y in pairs) / len(pairs),
    }


def measure(
    what: str,
    source: str | Path,
    dtypes: Sequence[Dtype],
    *,
    device: str = "auto",
    threads: int | None = None,
    report: Report = lambda line: None,
) -> Iterator[Row]:
    """Load a model in each dtype and measure it; rows as they come.

    Args:
        what: name of the bench, one of `BENCHES`.
        source, device, threads: as in `Engine.load`.
        dtypes: number formats to measure.
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

    reference = load("float32") if what == "agree" else None
    place: Row = {"threads": torch.get_num_threads()}
    if what == "step":
        engines: dict[str, Engine] = {dtype: load(dtype) for dtype in dtypes}
        report("measuring")
        for row in step(engines, _transformers(source, engines, report)):
            yield {**place, **row}
        return
    for dtype in dtypes:
        engine = load(dtype)
        report(f"measuring {dtype}")
        for row in _rows(what, engine, reference, report):
            yield {"dtype": dtype, **place, **row}


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


def _rows(what: str, engine: Engine, reference: Engine | None, report: Report) -> Iterator[Row]:
    if reference is not None:
        return agree(engine, reference, report)
    alone: dict[str, Callable[[Engine], Iterator[Row]]]
    alone = {"reply": reply, "cache": cache, "deadline": deadline, "batch": batch}
    return alone[what](engine)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dllm_core.bench", description=__doc__)
    parser.add_argument("bench", choices=BENCHES)
    parser.add_argument("model", help="GGUF file, directory or Hugging Face name")
    parser.add_argument("--dtype", choices=get_args(Dtype), nargs="+", default=["auto"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    rows = measure(
        arguments.bench,
        arguments.model,
        arguments.dtype,
        threads=arguments.threads,
        report=lambda line: print(line, file=sys.stderr),
    )
    try:
        for row in rows:
            print(json.dumps(row) if arguments.json else _line(row), flush=True)
    except DllmError as error:
        parser.error(str(error))


def _line(row: Row) -> str:
    return "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
