"""Rounds on the device against the host's own denoising, in float32 through the references."""

from collections.abc import Sequence

import pytest
import torch
from support.tiny import tiny_cache, tiny_config, tiny_model, tiny_tokenizer

from dllm_core import DecodeOptions
from dllm_core.decode.canvas import Canvas, CanvasView
from dllm_core.decode.denoise import run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.engine import Engine
from dllm_core.gpu.device_job import CanvasJob
from dllm_core.gpu.device_round import DeviceRound, RoundShape
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.model.paged_cache import PagedCache, PagePool
from dllm_core.model.transformer import Transformer

pytestmark = pytest.mark.kernels

LLADA = {"attention": "bidirectional", "shift": False, "tied_head": False, "num_kv_heads": 6}
GROUPED = {"attention": "bidirectional", "shift": False}
DREAM = {"attention": "bidirectional", "qkv_bias": True}
SDAR = {"block_length": 4, "shift": False, "qk_norm": True}
FAST_DLLM = {"block_length": 8, "qkv_bias": True}
ADAPTED: dict[str, object] = {}
FAMILIES = {
    "llada": LLADA,
    "grouped": GROUPED,
    "dream": DREAM,
    "sdar": SDAR,
    "fast_dllm": FAST_DLLM,
    "adapted": ADAPTED,
}
MODELS = {
    name: tiny_model(tiny_config(mask_id=60, eos_ids=(0, 7), num_layers=3, **changes))
    for name, changes in FAMILIES.items()
}
PROMPTS = [
    [5, 9, 2, 7, 33],
    [44, 17, 3, 8, 21, 30, 31, 1],
    [11],
    list(range(1, 58)) + list(range(1, 12)),
    [50] * 16,
]
"""One is as long as a block, one ends with an end-of-reply token, one needs a second page."""


def options(model: Transformer, **changes: object) -> DecodeOptions:
    policy = "prompt_frozen" if model.config.attention == "bidirectional" else "auto"
    values: dict[str, object] = {"rule": "quota", "steps": 5, "cache": policy, "max_tokens": 16}
    return DecodeOptions(**(values | changes))  # type: ignore[arg-type]


def by_host(model: Transformer, prompt: Sequence[int], length: int, chosen: DecodeOptions):
    engine = Engine(model, tiny_tokenizer(), model.config.context_length)
    cache = tiny_cache(model)
    engine.read(prompt, cache, chosen)
    canvas = Canvas.after(model.config, prompt, length, torch.device("cpu"))
    denoiser, views = Diffusion(model.config, canvas, cache, chosen), []
    while not denoiser.done:
        denoiser.absorb(run(model, denoiser.plan()))
        views.append(denoiser.view())
    return views, denoiser.final()


def on_device(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    lengths: Sequence[int],
    chosen: DecodeOptions,
    steps: int = 3,
) -> list[tuple[list[CanvasView], list[int]]]:
    pool = PagePool(model.config, 40, torch.float32, torch.device("cpu"))
    paged = PagedModel(model, pool)
    jobs = [
        CanvasJob(paged, PagedCache(pool, 128), prompt, length, chosen)
        for prompt, length in zip(prompts, lengths, strict=True)
    ]
    views: list[list[CanvasView]] = [[] for _ in jobs]
    canvas = max(job.columns for job in jobs)
    # One entry more than there are sequences: it stays empty.
    shape = RoundShape(batch=len(jobs) + 1, canvas=canvas, pages=3, steps=steps)
    rounds = DeviceRound(paged, shape, jobs[0].round_options)
    while not all(job.done for job in jobs):
        under_way = [i for i, job in enumerate(jobs) if not job.done]
        for i in under_way:
            jobs[i].prepare()
        entries = [jobs[i].entry() for i in under_way]
        rounds.write(entries)
        rounds.run()
        for i, outcome in zip(under_way, rounds.read(entries), strict=True):
            views[i] += jobs[i].absorb(outcome)
    return [(seen, job.final()) for seen, job in zip(views, jobs, strict=True)]


def assert_same(device: list[CanvasView], host: list[CanvasView]) -> None:
    assert [(v.ids, v.masked) for v in device] == [(v.ids, v.masked) for v in host]
    for a, b in zip(device, host, strict=True):
        assert a.confidence == pytest.approx(b.confidence, abs=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"eos_last": False},
        {"rule": "threshold", "threshold": 0.3},
        {"steps": 1},
        {"steps": 40},
        {"banned": (3, 17, 40, 50)},
    ],
)
@torch.inference_mode()
def test_a_batch_denoises_step_by_step_as_the_host_does(
    name: str, changes: dict[str, object]
) -> None:
    model = MODELS[name]
    chosen, lengths = options(model, **changes), [9, 12, 3, 12, 10]
    together = on_device(model, PROMPTS, lengths, chosen)
    for (views, final), prompt, length in zip(together, PROMPTS, lengths, strict=True):
        host_views, host_final = by_host(model, prompt, length, chosen)
        assert_same(views, host_views)
        assert final == host_final
        assert not set(final) & set(chosen.banned)


@pytest.mark.parametrize("name", ["llada", "dream", "sdar", "adapted"])
@torch.inference_mode()
def test_a_canvas_may_run_through_some_layers(name: str) -> None:
    model, prompt = MODELS[name], PROMPTS[3]
    chosen = options(model, canvas_layers=(0, 2))
    # Within one block of SDAR: what the host keeps of a block that ran through some layers only
    # lacks keys and values in the others.
    length = 3 if name == "sdar" else 11
    ((views, _),) = on_device(model, [prompt], [length], chosen)
    host_views, _ = by_host(model, prompt, length, chosen)
    assert_same(views, host_views)
