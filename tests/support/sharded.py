"""Checkpoints in shards, as large models have them: random weights, or only the right size."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from dllm_core.config import ModelConfig
from dllm_core.model.families import config_from_json, names_of
from dllm_core.model.transformer import Linear
from dllm_core.model.weights import build, slots
from support.checkpoints import byte_backend

SMALL = {
    "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    "max_position_embeddings": 2048, "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "mask_token_id": 258, "eos_token_id": 256,
}  # fmt: skip
"""SmolLM2-135M's shape: 538 MB in float32."""

LARGE = {
    "model_type": "llada", "vocab_size": 126464, "embedding_size": 126464, "d_model": 4096,
    "n_layers": 32, "n_heads": 32, "n_kv_heads": 32, "mlp_hidden_size": 12288,
    "max_sequence_length": 4096, "rope_theta": 500000.0, "weight_tying": False,
    "mask_token_id": 258, "eos_token_id": 256,
}  # fmt: skip
"""LLaDA-8B's shape: 16 GB in bfloat16."""


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Of every tensor, by its name in the checkpoint."""
    empty = build(config, Linear, 8, torch.float32, torch.device("meta"))
    found = {}
    for name, slot in slots(config, names_of(config)).items():
        owner, _, attribute = slot.parameter.rpartition(".")
        found[name] = tuple(getattr(empty.get_submodule(owner), attribute)[slot.rows].shape)
    return found


def write_random(directory: Path, values: Mapping[str, Any] = SMALL, shards: int = 4) -> Path:
    """Float32 weights drawn small, in shards of equal numbers of tensors."""
    found = shapes(_begin(directory, values))
    names, generator = sorted(found), torch.Generator().manual_seed(0)
    for i in range(shards):
        tensors = {
            n: torch.empty(found[n]).normal_(0, 0.02, generator=generator) for n in names[i::shards]
        }
        save_file(tensors, directory / _shard(i))
    _write_index(directory, {name: _shard(k % shards) for k, name in enumerate(names)})
    return directory


def write_sparse(directory: Path, values: Mapping[str, Any] = LARGE, shards: int = 4) -> Path:
    """Shards of bfloat16 zeros that take no room on the disk: the header, then a hole."""
    found = shapes(_begin(directory, values))
    names = sorted(found)
    for i in range(shards):
        header, end = {}, 0
        for name in names[i::shards]:
            begin, end = end, end + 2 * prod(found[name])
            header[name] = {"dtype": "BF16", "shape": found[name], "data_offsets": [begin, end]}
        written = json.dumps(header).encode()
        written += b" " * (-len(written) % 8)
        with (directory / _shard(i)).open("wb") as file:
            file.write(struct.pack("<Q", len(written)) + written)
            file.truncate(8 + len(written) + end)
    _write_index(directory, {name: _shard(k % shards) for k, name in enumerate(names)})
    return directory


def _shard(i: int) -> str:
    return f"model-{i}.safetensors"


def _begin(directory: Path, values: Mapping[str, Any]) -> ModelConfig:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(values))
    byte_backend().save(str(directory / "tokenizer.json"))
    return config_from_json(values)


def _write_index(directory: Path, weight_map: Mapping[str, str]) -> None:
    path = directory / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
