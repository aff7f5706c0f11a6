"""Step, reply and prefill of this engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from geometry import Sizes, prompts, random_model
from timing import device_ms, joules_per_token, wall_ms

from dllm_core.config import DecodeOptions
from dllm_core.gpu.device import Device
from dllm_core.gpu.device_job import CanvasJob, round_options_of
from dllm_core.gpu.device_round import DeviceRound, RoundShape
from dllm_core.gpu.roofline import H100, step_bound
from dllm_core.gpu.tuning import tune
from dllm_core.model.paged_cache import PagedCache
from dllm_core.model.pages import pages_for
from dllm_core.ops import PAGE

Row = dict[str, Any]


def measure(sizes: Sizes, dtype: str, device: torch.device) -> Iterator[Row]:
    """Rows for every batch and number of steps, and one for reading the prompt."""
    model = random_model(sizes.config, dtype, sizes.context, device)
    calls = max(sizes.batches)
    served = Device(
        model, sizes.context, calls * pages_for(sizes.context, PAGE) + 1, sequences=calls
    )
    if device.type == "cuda":
        with served.turn():
            tune(served.model, [batch * sizes.canvas for batch in sizes.batches], tiles=True)
        yield {"what": "choices", "dtype": dtype, "choices": _choices(served)}
    yield _prefill(sizes, dtype, served, device)
    asked = prompts(sizes.config, calls, sizes.cached)
    caches = [served.new_cache() for _ in asked]
    for prompt, cache in zip(asked, caches, strict=True):
        served.prefill(prompt, cache)
    for batch in sizes.batches:
        for steps in sizes.steps:
            yield _reply(sizes, dtype, served, asked[:batch], caches[:batch], steps, device)
    yield {"what": "graphs", "dtype": dtype, "report": served.graphs.report()}


def _choices(served: Device) -> dict[str, str]:
    return {" x ".join(map(str, shape)): way for shape, way in served.model.choices.items()}


def _prefill(sizes: Sizes, dtype: str, served: Device, device: torch.device) -> Row:
    (prompt,) = prompts(sizes.config, 1, sizes.cached)
    cache = served.new_cache()

    def read() -> None:
        cache.crop(0)
        served.prefill(prompt, cache)

    found = step_bound(
        sizes.config, H100, batch=1, rows=sizes.cached, cached=0, fp8=dtype == "fp8", head=False
    )
    ms = wall_ms(read, device, sizes.repeats)
    cache.close()
    return {"what": "prefill", "arm": "onebreath", "dtype": dtype, "batch": 1,
            "cached": sizes.cached, "prefill_ms": ms, "floor_ms": found.ms}  # fmt: skip


def _reply(
    sizes: Sizes,
    dtype: str,
    served: Device,
    asked: list[list[int]],
    caches: list[PagedCache],
    steps: int,
    device: torch.device,
) -> Row:
    options = DecodeOptions(
        rule="quota", cache="prompt_frozen", canvas_length=sizes.canvas, steps=steps
    )
    batch = len(asked)
    pages = pages_for(sizes.cached + sizes.canvas, PAGE)
    shape = RoundShape(batch, sizes.canvas, pages, steps)
    with served.turn():
        work = DeviceRound(served.model, shape, round_options_of(options))
        work.write(work.full())
        served.graphs.capture(work)
        run = served.graphs.runner(work)
        work.write(_entries(served, asked, caches, options))
        round_ms = device_ms(run, device, sizes.repeats)
    reply = _replier(served, asked, caches, options)
    reply_ms = wall_ms(reply, device, sizes.repeats)
    tokens = batch * sizes.canvas
    found = step_bound(
        sizes.config,
        H100,
        batch=batch,
        rows=sizes.canvas,
        cached=sizes.cached,
        fp8=dtype == "fp8",
    )
    return {
        "what": "reply",
        "arm": "onebreath",
        "dtype": dtype,
        "batch": batch,
        "canvas": sizes.canvas,
        "cached": sizes.cached,
        "steps": steps,
        "step_ms": round_ms / steps,
        "floor_ms": found.ms,
        "reply_ms": reply_ms,
        "tokens_per_s": tokens / reply_ms * 1e3,
        "joules_per_token": joules_per_token(reply, tokens, device, sizes.energy_seconds),
        "graph": run != work.run,
    }


def _jobs(
    served: Device, asked: list[list[int]], caches: list[PagedCache], options: DecodeOptions
) -> list[CanvasJob]:
    return [
        CanvasJob(served.model, cache, prompt, options.canvas_length, options)
        for prompt, cache in zip(asked, caches, strict=True)
    ]


def _entries(
    served: Device, asked: list[list[int]], caches: list[PagedCache], options: DecodeOptions
) -> list[Any]:
    jobs = _jobs(served, asked, caches, options)
    for job in jobs:
        job.prepare()
    return [job.entry() for job in jobs]


def _replier(
    served: Device, asked: list[list[int]], caches: list[PagedCache], options: DecodeOptions
) -> Callable[[], None]:
    """Time of a reply: joining the batch, the round, and its result on the host."""

    def reply() -> None:
        tickets = [served.submit(job) for job in _jobs(served, asked, caches, options)]
        for ticket in tickets:
            while not ticket.over:
                served.advance(ticket)

    return reply
