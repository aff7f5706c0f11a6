"""A reply of the denoiser beside llama.cpp's token by token, in one run on one machine.

    python benchmarks/adapt/speed.py MODEL.gguf [--adapter DIRECTORY] [--layers 20 21 ...]
        [--threads 2] [--llama-python PYTHON]

Prints JSON lines. The denoiser's steps cost the same whatever its weights say, so without an
adapter a random one stands in: times are true, the words are not looked at. (The base alone
would not do: its own 4-bit weights are multiplied in another way than merged ones.) llama.cpp
runs the same file with the system prompt cached, in an interpreter that has llama-cpp-python
(`--llama-python`; this one by default). Times are medians over the questions, in milliseconds of
the wall clock from the end of the prompt's reading (denoiser: 200 tokens cached) or from the
question (llama.cpp, whose reading of the question is part of its first token).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dllm_core import Engine
from dllm_core.adapt.tasks import SYSTEM
from dllm_core.bench.prompts import QUESTIONS
from dllm_core.config import DecodeOptions
from dllm_core.model import checkpoint, lora

CACHED = 200
REPLY, FIRST = (32, 8), (16, 4)
"""Positions and steps of a whole reply, and of a short first canvas."""

MASK_ID = 16
LLAMA = Path(__file__).with_name("llama_cpp_replies.py")

Row = dict[str, Any]


def stand_in(model: Path, directory: Path) -> Path:
    """A small random adapter of all layers."""
    config = replace(checkpoint.find(model).config, mask_id=MASK_ID)
    generator = torch.Generator().manual_seed(0)
    adapter = lora.fresh(config, rank=32, alpha=64, layers=None, generator=generator)
    parts = {
        place: replace(part, b=torch.randn(part.b.shape, generator=generator) * 1e-3)
        for place, part in adapter.parts.items()
    }
    settings = lora.DenoiserSettings(mask_id=MASK_ID)
    lora.save(replace(adapter, parts=parts, denoiser=settings), config, directory)
    return directory


def denoiser(engine: Engine, layers: tuple[int, ...] | None, repeats: int) -> Iterator[Row]:
    """Whole canvases after a cached prompt of 200 tokens."""
    prompt = [engine.config.eos_ids[0]] * CACHED
    cache = engine.new_cache()
    for positions, steps in (REPLY, FIRST):
        options = DecodeOptions(
            rule="quota", canvas_length=positions, steps=steps, max_tokens=positions,
            canvas_layers=layers,
        )  # fmt: skip
        engine.read(prompt, cache, options)
        times = [engine.reply(prompt, cache, options).stats for _ in range(repeats + 1)][1:]
        full = [s.ms for s in times if s.forwards == steps]
        yield {
            "what": "denoiser", "layers": len(layers or range(engine.config.num_layers)),
            "positions": positions, "steps": steps,
            # A canvas that the weights end early is shorter than the plan: steps are what count.
            "ms": round(median(s.ms / s.forwards for s in times) * steps, 1),
            "complete": len(full), "repeats": repeats,
        }  # fmt: skip


def llama_cpp(python: str, model: Path, threads: int, count: int) -> Row:
    """The same file, greedy, by llama-cpp-python."""
    command = [python, str(LLAMA), str(model), str(threads), SYSTEM, json.dumps(QUESTIONS[:count])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise SystemExit(
            f"llama.cpp did not run ({''.join(last)}): pip install llama-cpp-python into an "
            "environment and name its interpreter with --llama-python."
        )
    row: Row = json.loads(done.stdout)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--layers", type=int, nargs="+", default=list(range(20, 30)))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--llama-python", default=sys.executable)
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        adapter = given.adapter or stand_in(given.model, Path(temporary))
        engine = Engine.load(
            given.model, dtype="int8", device="cpu", threads=given.threads, adapter=adapter
        )
    head = {"machine": platform.machine(), "threads": given.threads, "dtype": "int8"}
    for layers in (None, tuple(given.layers)):
        for row in denoiser(engine, layers, given.repeats):
            print(json.dumps({**row, **head}), flush=True)
    row = llama_cpp(given.llama_python, given.model, given.threads, given.questions)
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
