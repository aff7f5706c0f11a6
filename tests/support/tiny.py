"""Tiny random models and files for the tests of the engine."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from dllm_core.config import ModelConfig
from dllm_core.engine import Engine
from dllm_core.model.cache import KeyValues, PromptCache
from dllm_core.model.tokenizer import Tokenizer
from dllm_core.model.transformer import Linear, Transformer
from dllm_core.model.weights import build


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


def tiny_tokenizer(size: int = 61) -> Tokenizer:
    """A printable character a token, so that any ids are text that encodes to them again."""
    letters = [chr(code) for code in range(ord("!"), ord("!") + size)]
    backend = Backend(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    template = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    return Tokenizer(backend, template, {})


def tiny_engine(config: ModelConfig, seed: int = 0) -> Engine:
    model = tiny_model(config, seed)
    return Engine(model, tiny_tokenizer(config.vocab_size), config.context_length)
