"""Tiny random models and files for the tests of the engine."""

from __future__ import annotations

import torch

from dllm_core.cache import KeyValues, PromptCache
from dllm_core.config import ModelConfig
from dllm_core.model import Linear, Transformer
from dllm_core.weights import build


def tiny_config(**changes: object) -> ModelConfig:
    """Two layers, six query heads on three key heads, odd sizes elsewhere."""
    values: dict[str, object] = {
        "family": "llama",
        "vocab_size": 61,
        "hidden_size": 36,
        "intermediate_size": 50,
        "num_layers": 2,
        "num_heads": 6,
        "num_kv_heads": 3,
        "head_dim": 8,
        "context_length": 128,
        "rope_theta": 10_000.0,
        "norm_eps": 1e-5,
        "eos_ids": (0,),
    }
    return ModelConfig(**(values | changes))  # type: ignore[arg-type]


def tiny_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """Random float32 weights, large enough that predictions differ from place to place."""
    model = build(config, Linear, config.context_length, torch.float32, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        scale = 1.0 if name == "embedding" else 0.4
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        if name.endswith("norm"):
            parameter.abs_().add_(0.5)
    return model


def tiny_cache(model: Transformer, limit: int = 128) -> PromptCache:
    store = KeyValues(model.config, limit, torch.float32, torch.device("cpu"))
    return PromptCache(store)
