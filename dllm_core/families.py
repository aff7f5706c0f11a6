"""The families of checkpoints: how each writes its configuration and names its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dllm_core.config import ModelConfig
from dllm_core.errors import ModelFileError, UnsupportedModelError

NameMap = Mapping[str, str]
"""Checkpoint tensor name -> `parameter` or `parameter:part`; `{}` stands for the layer."""

HUGGING_FACE: NameMap = {
    "model.embed_tokens.weight": "embedding",
    "model.layers.{}.input_layernorm.weight": "blocks.{}.attention_norm",
    "model.layers.{}.self_attn.q_proj.weight": "blocks.{}.attention.qkv.weight:q",
    "model.layers.{}.self_attn.k_proj.weight": "blocks.{}.attention.qkv.weight:k",
    "model.layers.{}.self_attn.v_proj.weight": "blocks.{}.attention.qkv.weight:v",
    "model.layers.{}.self_attn.q_proj.bias": "blocks.{}.attention.qkv.bias:q",
    "model.layers.{}.self_attn.k_proj.bias": "blocks.{}.attention.qkv.bias:k",
    "model.layers.{}.self_attn.v_proj.bias": "blocks.{}.attention.qkv.bias:v",
    "model.layers.{}.self_attn.q_norm.weight": "blocks.{}.attention.q_norm",
    "model.layers.{}.self_attn.k_norm.weight": "blocks.{}.attention.k_norm",
    "model.layers.{}.self_attn.o_proj.weight": "blocks.{}.attention.out.weight",
    "model.layers.{}.post_attention_layernorm.weight": "blocks.{}.mlp_norm",
    "model.layers.{}.mlp.gate_proj.weight": "blocks.{}.mlp.gate_up.weight:gate",
    "model.layers.{}.mlp.up_proj.weight": "blocks.{}.mlp.gate_up.weight:up",
    "model.layers.{}.mlp.down_proj.weight": "blocks.{}.mlp.down.weight",
    "model.norm.weight": "norm",
    "lm_head.weight": "head.weight",
}

GGUF: NameMap = {
    "token_embd.weight": "embedding",
    "blk.{}.attn_norm.weight": "blocks.{}.attention_norm",
    "blk.{}.attn_q.weight": "blocks.{}.attention.qkv.weight:q",
    "blk.{}.attn_k.weight": "blocks.{}.attention.qkv.weight:k",
    "blk.{}.attn_v.weight": "blocks.{}.attention.qkv.weight:v",
    "blk.{}.attn_q.bias": "blocks.{}.attention.qkv.bias:q",
    "blk.{}.attn_k.bias": "blocks.{}.attention.qkv.bias:k",
    "blk.{}.attn_v.bias": "blocks.{}.attention.qkv.bias:v",
    "blk.{}.attn_q_norm.weight": "blocks.{}.attention.q_norm",
    "blk.{}.attn_k_norm.weight": "blocks.{}.attention.k_norm",
    "blk.{}.attn_output.weight": "blocks.{}.attention.out.weight",
    "blk.{}.ffn_norm.weight": "blocks.{}.mlp_norm",
    "blk.{}.ffn_gate.weight": "blocks.{}.mlp.gate_up.weight:gate",
    "blk.{}.ffn_up.weight": "blocks.{}.mlp.gate_up.weight:up",
    "blk.{}.ffn_down.weight": "blocks.{}.mlp.down.weight",
    "output_norm.weight": "norm",
    "output.weight": "head.weight",
}

_AUTOREGRESSIVE: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
}


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> ModelConfig:
    """The configuration that a GGUF file states.

    Raises:
        UnsupportedModelError: another architecture than llama, qwen2 or qwen3.
        ModelFileError: a needed field is missing.
    """
    family = metadata.get("general.architecture")
    if family not in _AUTOREGRESSIVE:
        raise UnsupportedModelError(
            f"GGUF files of the architecture {family!r} are not supported; "
            f"{', '.join(_AUTOREGRESSIVE)} are."
        )
    try:
        heads = metadata[f"{family}.attention.head_count"]
        hidden = metadata[f"{family}.embedding_length"]
        return ModelConfig(
            family=family,
            vocab_size=len(metadata["tokenizer.ggml.tokens"]),
            hidden_size=hidden,
            intermediate_size=metadata[f"{family}.feed_forward_length"],
            num_layers=metadata[f"{family}.block_count"],
            num_heads=heads,
            num_kv_heads=metadata.get(f"{family}.attention.head_count_kv", heads),
            head_dim=metadata.get(f"{family}.attention.key_length", hidden // heads),
            context_length=metadata[f"{family}.context_length"],
            rope_theta=metadata.get(f"{family}.rope.freq_base", 10_000.0),
            norm_eps=metadata[f"{family}.attention.layer_norm_rms_epsilon"],
            eos_ids=(metadata["tokenizer.ggml.eos_token_id"],),
            tied_head="output.weight" not in tensors,
            **_AUTOREGRESSIVE[family],
        )
    except KeyError as error:
        raise ModelFileError(f"The GGUF file lacks the field {error}.") from error
