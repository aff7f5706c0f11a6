"""The engine against the published loops, on other seeds and settings than the golden cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plain_reference import Plain, dream, fast_dllm, llada, random_weights, sdar
from support.tiny import tiny_cache, tiny_config

from dllm_core.config import DecodeOptions
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.model.families import HUGGING_FACE
from dllm_core.model.transformer import Linear, Span, Transformer, visibility
from dllm_core.model.weights import build, fill

MASK, CPU = 60, torch.device("cpu")
SIZES = {
    "vocab": 61, "hidden": 36, "inner": 50, "layers": 2, "heads": 6, "kv_heads": 3, "head_dim": 8,
    "tied": True, "bias": False, "qk_norm": False,
}  # fmt: skip
SEEDS = st.integers(0, 10_000)
PROMPTS = st.lists(st.integers(1, 59), min_size=1, max_size=13)
PLENTY = settings(deadline=None, max_examples=40)


def pair(seed: int, attention: dict[str, Any], **changes: Any) -> tuple[Plain, Transformer]:
    """The same random weights in the reference and in the engine."""
    shape = SIZES | changes
    weights = random_weights(shape, seed)
    config = tiny_config(
        mask_id=MASK, eos_ids=(), num_heads=shape["heads"], num_kv_heads=shape["kv_heads"],
        tied_head=shape["tied"], qkv_bias=shape["bias"], qk_norm=shape["qk_norm"], **attention,
    )  # fmt: skip
    model = build(config, Linear, 128, torch.float32, CPU)
    fill(model, HUGGING_FACE, weights.items())
    plain = Plain(weights, shape["heads"], shape["kv_heads"], shape["layers"], 10_000.0, 1e-5)
    return plain, model


BIDIRECTIONAL = {"attention": "bidirectional", "shift": False}
DREAM = {"attention": "bidirectional", "shift": True}


def denoised(
    model: Transformer, prompt: list[int], length: int, options: DecodeOptions
) -> tuple[list[int], int]:
    """The engine's reply and the forward passes that it took."""
    canvas = Canvas.after(model.config, prompt, length, CPU)
    unconditional = tiny_cache(model).store if options.guidance else None
    denoiser = Diffusion(
        model.config, canvas, tiny_cache(model), options, unconditional=unconditional
    )
    passes = 0
    while not denoiser.done:
        denoiser.absorb(run(model, denoiser.plan()))
        passes += 1
    return denoiser.final(), passes


@pytest.mark.parametrize("heads", [(6, 6), (6, 3), (6, 1)])
@pytest.mark.parametrize(("tied", "bias", "qk_norm"), [(True, False, True), (False, True, False)])
@pytest.mark.parametrize("block", [None, 1, 4])
def test_logits(
    heads: tuple[int, int], tied: bool, bias: bool, qk_norm: bool, block: int | None
) -> None:
    attention = BIDIRECTIONAL if block is None else {"block_length": block}
    plain, model = pair(
        7, attention, heads=heads[0], kv_heads=heads[1], tied=tied, bias=bias, qk_norm=qk_norm
    )
    ids, n = torch.randint(0, 60, (23,), generator=torch.Generator().manual_seed(1)), 23
    places = torch.arange(n) // (block or n)
    expected, _ = plain(ids, mask=places[None] <= places[:, None])
    span = Span(tiny_cache(model).store, 0, n, n, visibility(model.config, 0, n, n))
    torch.testing.assert_close(model.logits(model(ids, [span])), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@PLENTY
@given(
    seed=SEEDS,
    prompt=PROMPTS,
    shape=st.sampled_from([(16, 16, 5), (16, 8, 8), (24, 8, 9), (24, 4, 12), (12, 12, 12)]),
    cfg=st.sampled_from([0.0, 0.0, 0.7, 2.5]),
)
def test_llada(seed: int, prompt: list[int], shape: tuple[int, int, int], cfg: float) -> None:
    length, block, steps = shape
    plain, model = pair(seed, BIDIRECTIONAL)
    options = DecodeOptions(
        rule="quota", steps=steps, block_length=block, guidance=cfg, eos_last=False
    )
    expected = llada(plain, prompt, MASK, length=length, block=block, steps=steps, cfg=cfg)
    assert denoised(model, prompt, length, options) == (expected, steps)


@pytest.mark.slow
@PLENTY
@given(
    seed=SEEDS,
    prompt=PROMPTS,
    block=st.sampled_from([4, 8, 24]),
    cache=st.sampled_from(["none", "prefix", "dual"]),
    rule=st.one_of(
        st.tuples(st.just("threshold"), st.sampled_from([0.2, 0.5, 0.95])),
        st.tuples(st.just("factor"), st.sampled_from([0.3, 1.0, 1.7])),
    ),
)
def test_fast_dllm(
    seed: int, prompt: list[int], block: int, cache: Any, rule: tuple[Any, float]
) -> None:
    plain, model = pair(seed, BIDIRECTIONAL)
    name, value = rule
    options = DecodeOptions(
        rule=name, block_length=block, cache=cache, eos_last=False, **{name: value}
    )
    expected = fast_dllm(plain, prompt, MASK, length=24, block=block, cache=cache, **{name: value})
    assert denoised(model, prompt, 24, options) == expected


@pytest.mark.slow
@PLENTY
@given(
    seed=SEEDS,
    prompt=PROMPTS,
    steps=st.integers(1, 20),
    alg=st.sampled_from(["maskgit_plus", "topk_margin", "entropy"]),
    top_k=st.sampled_from([5, 50]),
)
def test_dream(seed: int, prompt: list[int], steps: int, alg: str, top_k: int) -> None:
    plain, model = pair(seed, DREAM, bias=True)
    kinds: dict[str, Any] = {
        "maskgit_plus": "probability", "topk_margin": "margin", "entropy": "entropy"
    }  # fmt: skip
    options = DecodeOptions(
        rule="quota", confidence=kinds[alg], timesteps=True, steps=steps, top_k=top_k,
        eos_last=False,
    )  # fmt: skip
    expected = dream(plain, prompt, MASK, length=18, steps=steps, alg=alg, top_k=top_k)
    assert denoised(model, prompt, 18, options)[0] == expected


@pytest.mark.slow
@PLENTY
@given(
    seed=SEEDS,
    prompt=PROMPTS,
    block=st.sampled_from([2, 4, 8]),
    threshold=st.sampled_from([0.2, 0.5, 0.9]),
)
def test_sdar(seed: int, prompt: list[int], block: int, threshold: float) -> None:
    plain, model = pair(seed, {"block_length": block, "shift": False}, qk_norm=True)
    blocks = -(-(len(prompt) + 16) // block) - len(prompt) // block
    options = DecodeOptions(
        rule="dynamic", steps=block * blocks, threshold=threshold, eos_last=False
    )
    expected = sdar(plain, prompt, MASK, length=16, block=block, steps=block, threshold=threshold)
    assert denoised(model, prompt, 16, options)[0] == expected
