"""Tiny checkpoints on disk, as they are published: config.json, tokenizer.json, safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from dllm_core.model.families import config_from_json, names_of
from dllm_core.model.weights import slots
from support.tiny import tiny_model

TEMPLATE = (
    "{% for m in messages %}<start>{{ m.role }} {{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant {% endif %}"
)
END, MASK = "<end>", "<empty_output>"


def byte_backend() -> Backend:
    """A byte a token, and three special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Backend(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True) for t in (END, "<start>", MASK)]
    backend.add_special_tokens(special)
    return backend


def write_checkpoint(directory: Path, family: str, layers: int = 2) -> Path:
    """A random model of the family `llama` or `llada`, a byte a token."""
    directory.mkdir(parents=True, exist_ok=True)
    backend = byte_backend()
    backend.save(str(directory / "tokenizer.json"))
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    values = _config(family, layers, backend)
    (directory / "config.json").write_text(json.dumps(values))
    config = config_from_json(values)
    model = tiny_model(config)
    model.norm.mul_(0.1)
    tensors = {
        name: model.get_parameter(slot.parameter)[slot.rows].contiguous()
        for name, slot in slots(config, names_of(config)).items()
    }
    save_file(tensors, directory / "model.safetensors")
    return directory


def _config(family: str, layers: int, backend: Backend) -> dict[str, Any]:
    size, end = backend.get_vocab_size(), backend.token_to_id(END)
    if family == "llada":
        return {
            "model_type": "llada", "vocab_size": size, "embedding_size": size,
            "eos_token_id": end, "mask_token_id": backend.token_to_id(MASK), "d_model": 32,
            "mlp_hidden_size": 48, "n_layers": layers, "n_heads": 4, "max_sequence_length": 512,
            "rope_theta": 10000.0, "weight_tying": False,
        }  # fmt: skip
    return {
        "model_type": "llama", "vocab_size": size, "eos_token_id": end, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
    }  # fmt: skip
