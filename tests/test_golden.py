"""Logits and tokens of the published reference code on tiny random models.

The files under data/golden were made by running LLaDA's generate, Fast-dLLM's three generate
functions and Dream's diffusion_generate in float32; the README there says how.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.tiny import tiny_cache

from dllm_core.config import DecodeOptions
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import run
from dllm_core.decode.diffusion import Diffusion
from dllm_core.model.families import config_from_json, names_of
from dllm_core.model.transformer import Linear, Span, Transformer, visibility
from dllm_core.model.weights import build, fill

GOLDEN = Path(__file__).parent / "data" / "golden"
NAMES = ("llada_mha", "illada_gqa_tied", "dream")


def load(name: str) -> Transformer:
    config = config_from_json(json.loads((GOLDEN / f"{name}.config.json").read_text()))
    model = build(config, Linear, 256, torch.float32, torch.device("cpu"))
    fill(model, names_of(config), load_file(GOLDEN / f"{name}.safetensors").items())
    return model


MODELS = {name: load(name) for name in NAMES}


def cases() -> list[Any]:
    found = []
    for name in NAMES:
        file = json.loads((GOLDEN / f"{name}.cases.json").read_text())
        for case in file["cases"]:
            label = "-".join(str(v) for k, v in case.items() if k not in ("out", "nfe"))
            found.append(pytest.param(name, file["prompt"], case, id=f"{name}-{label}"))
    return found


def options(case: dict[str, Any]) -> DecodeOptions:
    values: dict[str, Any] = {"eos_last": False, "cache": case.get("cache", "none")}
    rule = case["rule"]
    if rule == "threshold":
        values |= {"rule": "threshold", "threshold": case["threshold"]}
    elif rule == "llada_quota":
        values |= {"rule": "quota", "steps": case["steps"], "guidance": case.get("cfg", 0.0)}
    else:
        kinds = {"maskgit_plus": "probability", "topk_margin": "margin", "entropy": "entropy"}
        values |= {"rule": "quota", "confidence": kinds[rule], "timesteps": True}
        # Dream inherits top_k from the default GenerationConfig of transformers.
        values |= {"steps": case["steps"], "top_k": 50}
    return DecodeOptions(block_length=case.get("block_length"), **values)


@pytest.mark.parametrize(("name", "prompt", "case"), cases())
def test_tokens_are_those_of_the_reference(
    name: str, prompt: list[int], case: dict[str, Any]
) -> None:
    model, decode = MODELS[name], options(case)
    canvas = Canvas.after(model.config, prompt, case["gen_length"], torch.device("cpu"))
    unconditional = tiny_cache(model, 256).store if decode.guidance else None
    if unconditional is not None:
        unconditional.reserve(len(canvas), keep=0)
    denoiser = Diffusion(
        model.config, canvas, tiny_cache(model, 256), decode, unconditional=unconditional
    )
    forwards = 0
    while canvas.masked.any():
        denoiser.absorb(run(model, denoiser.plan()))
        forwards += 1
    assert canvas.ids[len(prompt) :].tolist() == case["out"]
    assert forwards == case.get("nfe", forwards)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_the_reference(name: str) -> None:
    model, expected = MODELS[name], load_file(GOLDEN / f"{name}.logits.safetensors")
    ids = expected["input_ids"].flatten()
    store = tiny_cache(model, 256).store
    store.reserve(len(ids), keep=0)
    mask = visibility(model.config, 0, len(ids), len(ids))
    logits = model.logits(model(ids, [Span(store, 0, len(ids), len(ids), mask)]))
    torch.testing.assert_close(logits, expected["logits"].view_as(logits), atol=1e-4, rtol=0)
