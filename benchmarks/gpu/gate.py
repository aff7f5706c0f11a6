"""Correctness gate before any timing: kernels and rounds against plain torch on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from geometry import SMALL, Sizes, prompts, random_model

from dllm_core import ops
from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.gpu.device import Device
from dllm_core.gpu.device_batch import CanvasTicket
from dllm_core.gpu.device_job import CanvasJob
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.model.cache import KeyValues, PromptCache
from dllm_core.model.transformer import Span, Transformer, visibility
from dllm_core.ops.cases import CASES
from dllm_core.ops.check import check as check_kernel
from dllm_core.ops.geometry import GEOMETRIES

OPTIONS = DecodeOptions(rule="quota", cache="prompt_frozen", canvas_length=7, steps=5)
LARGEST_ERROR = {"float32": 1e-4, "bfloat16": 2e-2, "fp8": 5e-2}
"""Bounds on the error of hidden states after all layers, relative to the reference in the same
number format. In fp8 a sum that is rounded otherwise may move an input of the next product by a
sixteenth."""
LOGITS_ERROR = 0.02
"""Bound on the relative error of fp8 logits against bfloat16 ones."""


class GateError(AssertionError):
    """The device deviates from the reference."""


def families() -> dict[str, ModelConfig]:
    """Models of every kind with odd sizes; their head sizes are those of the kernels."""
    base = replace(SMALL.config, vocab_size=211, hidden_size=96, intermediate_size=80)
    return {
        "LLaDA": base,
        "grouped": replace(base, num_kv_heads=2),
        "Dream": replace(base, num_kv_heads=1, shift=True, qkv_bias=True, head_dim=64),
        "SDAR": replace(base, num_kv_heads=2, attention="block_causal", block_length=4,
                        qk_norm=True, tied_head=True),
        "adapted": replace(base, num_kv_heads=2, attention="block_causal", shift=True,
                           tied_head=True, head_dim=128),
    }  # fmt: skip


@torch.inference_mode()
def check(device: torch.device) -> Iterator[dict[str, Any]]:
    """Compare each kernel at true geometry, then whole passes and rounds; yields a row for each.

    Raises:
        GateError: with the first comparison that fails.
    """
    if device.type == "cuda":
        yield from _kernels(device)
    for name, config in families().items():
        model = random_model(config, "bfloat16", 256, device).float()
        model.embedding.mul_(50)
        yield {"what": "gate", "case": f"{name} tokens", "equal": _same_tokens(model, device)}
        for dtype in LARGEST_ERROR:
            error = _hidden_error(config, dtype, device)
            if not error <= LARGEST_ERROR[dtype]:
                raise GateError(f"{name}, {dtype}: hidden states differ by {error:.2e}")
            yield {"what": "gate", "case": f"{name} {dtype}", "error": error}


def _kernels(device: torch.device) -> Iterator[dict[str, Any]]:
    for geometry in GEOMETRIES.values():
        for case in CASES:
            verdict = check_kernel(case, geometry, device)
            if not verdict.right:
                raise GateError(str(verdict))
            yield {"what": "gate", "case": str(verdict)}


def _same_tokens(model: Transformer, device: torch.device) -> bool:
    config = model.config
    options = OPTIONS
    if config.attention == "block_causal":
        options = replace(OPTIONS, cache="exact")
    asked = [prompt[: 5 + 31 * i] for i, prompt in enumerate(prompts(config, 4, 128))]
    served = Device(model, 256, 40)
    # What nobody has written must not matter.
    served.pool.layers[0][0].fill_(torch.nan)
    tickets = [_submit(served, prompt, options) for prompt in asked]
    while not served.batch.idle:
        with served.turn():
            served.batch.step()
    for prompt, ticket in zip(asked, tickets, strict=True):
        expected = _by_host(model, prompt, options, device)
        if ticket.work.job.final() != expected:
            raise GateError(f"{prompt}: {ticket.work.job.final()} instead of {expected}")
    return True


def _submit(served: Device, prompt: list[int], options: DecodeOptions) -> CanvasTicket:
    job = CanvasJob(served.model, served.new_cache(), prompt, options.canvas_length, options)
    return served.submit(job)


def _by_host(
    model: Transformer, prompt: list[int], options: DecodeOptions, device: torch.device
) -> list[int]:
    """The same canvas by Diffusion, in plain torch."""
    cache = PromptCache(KeyValues(model.config, 256, torch.float32, device))
    _read_by_host(model, prompt, cache, device)
    canvas = Canvas.after(model.config, prompt, options.canvas_length, device)
    denoiser = Diffusion(model.config, canvas, cache, options)
    while not denoiser.done:
        denoiser.absorb(run(model, denoiser.plan()))
    return denoiser.final()


def _read_by_host(
    model: Transformer, prompt: list[int], cache: PromptCache, device: torch.device
) -> None:
    """As Engine.read, which cannot be imported where GGUF's package is missing."""
    config = model.config
    size = config.block_length if config.attention == "block_causal" else 1
    stop = (len(prompt) - config.shift) // size * size
    if not stop:
        return
    cache.reserve(stop)
    mask = visibility(config, 0, stop, stop)
    span = Span(cache.store, 0, stop, stop, None if mask is None else mask.to(device))
    model(torch.tensor(prompt[:stop], device=device), [span])
    cache.commit(prompt[:stop])


def _hidden_error(config: ModelConfig, dtype: str, device: torch.device) -> float:
    """Kernels against references: relative error of a prompt's hidden states."""
    model = random_model(config, dtype, 256, device)
    if dtype == "float32":
        model = model.float()
    (prompt,) = prompts(config, 1, 101)
    found = []
    for context in (ops.references, None):
        paged = Device(model, 256, 8)
        with paged.turn():
            found.append(_read(paged.model, paged, prompt, context))
    reference, kernel = found
    if not bool(kernel.isfinite().all()):
        raise GateError(f"{dtype}: hidden states are not finite")
    return float((kernel - reference).norm() / reference.norm())


def _read(model: PagedModel, paged: Device, prompt: list[int], context: Any) -> torch.Tensor:
    cache = paged.new_cache()
    if context is None:
        return model.read(cache, prompt).float()
    with context():
        return model.read(cache, prompt).float()


@torch.inference_mode()
def fp8_error(sizes: Sizes, device: torch.device) -> Iterator[dict[str, Any]]:
    """Relative error of fp8 logits against bfloat16 ones over a prompt, with random weights."""
    (prompt,) = prompts(sizes.config, 1, sizes.canvas)
    logits = []
    for dtype in ("bfloat16", "fp8"):
        model = random_model(sizes.config, dtype, sizes.context, device)
        served = Device(model, sizes.context, 8)
        with served.turn():
            hidden = served.model.read(served.new_cache(), prompt)
            logits.append((hidden @ served.model.head.T).float())
    error = float((logits[1] - logits[0]).norm() / logits[0].norm())
    yield {"what": "fp8 logits", "dtype": "fp8", "error": error, "target": LOGITS_ERROR}
