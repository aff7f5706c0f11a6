"""CPU time of reading a bidirectional model's prompt when its words are final.

    python benchmarks/frozen_prompt.py [--threads 1] [--rounds 7]

Prints a JSON line for each length of prompt: ``whole_ms`` is the time to read all of it, as the
policy `prompt_frozen` does, ``words_ms`` that of its last eight tokens behind the others, which is
what reading while the caller speaks would leave, at the price of another reply. The weights are the
default model's, run as a bidirectional one: the time does not depend on their values. Medians.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import process_time

import torch

from agent.models import store
from dllm_core import DecodeOptions, Engine
from dllm_core.decode.host_backend import HostBackend
from dllm_core.model.transformer import Span

LENGTHS = (60, 200, 500)
WORDS = 8
FROZEN = DecodeOptions(rule="quota", cache="prompt_frozen", canvas_length=32)


def bidirectional(engine: Engine) -> HostBackend:
    """The engine's weights as those of a bidirectional model."""
    model = engine.model
    model.config = replace(
        model.config, attention="bidirectional", shift=False, mask_id=model.config.eos_ids[0]
    )
    return HostBackend(model, engine.tokenizer, engine.context)


def timed(work: Callable[[], object]) -> float:
    """Milliseconds of CPU time."""
    begin = process_time()
    work()
    return (process_time() - begin) * 1e3


def row(engine: Engine, host: HostBackend, length: int, rounds: int) -> dict[str, float]:
    """Figures for a prompt of `length` tokens."""
    whole, words = [], []
    for number in range(rounds):
        ids = [(7 * i + number) % 9000 for i in range(length)]
        cache = host.new_cache()
        whole.append(timed(lambda ids=ids, cache=cache: host.read(ids, cache, FROZEN)))
        first = length - WORDS
        span = Span(cache.store, first, WORDS, length)
        last = torch.tensor(ids[first:])
        with torch.inference_mode():
            words.append(timed(lambda last=last, span=span: engine.model(last, [span])))
    return {"tokens": length, "whole_ms": median(whole), "words_ms": median(words)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    engine = Engine.load(store.locate("smollm2-135m-instruct"), threads=given.threads)
    host = bidirectional(engine)
    for length in LENGTHS:
        found = row(engine, host, length, given.rounds)
        print(json.dumps({name: round(value, 1) for name, value in found.items()}), flush=True)


if __name__ == "__main__":
    main()
