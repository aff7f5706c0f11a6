"""The families of checkpoints: fields of their configuration files, names of their tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from dllm_core import rope
from dllm_core.config import ModelConfig, require_known
from dllm_core.errors import ModelFileError, OptionError, UnsupportedModelError
from dllm_core.model import fields_of_gguf, fields_of_json

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

LLADA: NameMap = {
    "model.transformer.wte.weight": "embedding",
    "model.transformer.blocks.{}.attn_norm.weight": "blocks.{}.attention_norm",
    "model.transformer.blocks.{}.q_proj.weight": "blocks.{}.attention.qkv.weight:q",
    "model.transformer.blocks.{}.k_proj.weight": "blocks.{}.attention.qkv.weight:k",
    "model.transformer.blocks.{}.v_proj.weight": "blocks.{}.attention.qkv.weight:v",
    "model.transformer.blocks.{}.attn_out.weight": "blocks.{}.attention.out.weight",
    "model.transformer.blocks.{}.ff_norm.weight": "blocks.{}.mlp_norm",
    "model.transformer.blocks.{}.ff_proj.weight": "blocks.{}.mlp.gate_up.weight:gate",
    "model.transformer.blocks.{}.up_proj.weight": "blocks.{}.mlp.gate_up.weight:up",
    # The reference calls both the down projection and the head `ff_out`.
    "model.transformer.blocks.{}.ff_out.weight": "blocks.{}.mlp.down.weight",
    "model.transformer.ln_f.weight": "norm",
    "model.transformer.ff_out.weight": "head.weight",
}

_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "mistral": {},
    "llada": {"attention": "bidirectional", "shift": False},
    "Dream": {"attention": "bidirectional", "qkv_bias": True},
    "sdar": {"qk_norm": True, "block_length": 4, "shift": False},
    "Fast_dLLM_Qwen": {
        "qkv_bias": True,
        "block_length": 32,
        "sub_block_length": 8,
        "leads_blocks": True,
    },
    "a2d-llama": {"attention": "bidirectional", "shift": False, "pads_prompts": True},
    "a2d-qwen2": {
        "attention": "bidirectional",
        "qkv_bias": True,
        "shift": False,
        "pads_prompts": True,
    },
    "a2d-qwen3": {
        "attention": "bidirectional",
        "qk_norm": True,
        "shift": False,
        "pads_prompts": True,
    },
}
"""Fields of ModelConfig that the configuration files of a family leave out, by `model_type`."""

_MASK_IDS = {"Dream": 151_666, "sdar": 151_669, "Fast_dLLM_Qwen": 151_665}
_QWEN3S_HEAD = 128
"""Size of a head of the families with normed queries, unless the file has another."""
_MISTRALS_WINDOW = 4096
"""Positions of every layer's window, unless the file has another or null."""
_LLADA_MASK_IDS = {126_464: 126_336, 155_136: 5}
_LLADA_ENDS_OF_TURN = {126_464: 126_348}
"""By size of the vocabulary, as the mask ids: LLaDA-8B and iLLaDA-8B differ."""


def checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ModelConfig as a user gives them, with lists made tuples.

    Raises:
        OptionError: a name is unknown, or a value of another type than the field's.
    """
    found: dict[str, Any] = {}
    for name, value in changes.items():
        require_known("field of the model's configuration", name, _FIELDS)
        if isinstance(value, list):
            value = tuple(value)
        if name == "eos_ids" and isinstance(value, int):
            value = (value,)
        if not isinstance(value, _types_of(name)):
            raise OptionError(f"{name} of the model's configuration cannot be {value!r}.")
        found[name] = value
    return found


_FIELDS = [field.name for field in dataclasses.fields(ModelConfig) if field.name != "rope"]
_BOOLEAN = ("leads_blocks", "pads_prompts", "shift", "qkv_bias", "qk_norm", "tied_head")


def _types_of(name: str) -> tuple[type, ...]:
    if name in ("family", "attention"):
        return (str,)
    if name in _BOOLEAN:
        return (bool,)
    if name == "eos_ids":
        return (tuple,)
    if name in ("rope_theta", "norm_eps"):
        return (float, int)
    return (int, type(None)) if name in ("mask_id", "sub_block_length") else (int,)


def names_of(config: ModelConfig) -> NameMap:
    """The tensor names in the safetensors files of a family."""
    return LLADA if config.family == "llada" else HUGGING_FACE


_GGUF_FAMILIES = ("llama", "qwen2", "qwen3")
AUTOREGRESSIVE = (*_GGUF_FAMILIES, "mistral")
"""Families whose checkpoints predict the next token, unless their files say otherwise."""

_OPEN_DLLM = {"attention": "bidirectional", "shift": True}
"""Open-dLLM's checkpoints call themselves qwen2, and their tokenizer's mask token <M>."""


def names_diffusion(
    family: str, mask_token: str | None, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Fields of a diffusion checkpoint that calls itself by an autoregressive family's name.

    `mask_token` is the one that its tokenizer names, or None.

    Raises:
        UnsupportedModelError: there is a mask token, and nothing says how it is used.
    """
    stated = {"attention", "mask_id"} & changes.keys()
    if family not in AUTOREGRESSIVE or not mask_token or stated:
        return {}
    if mask_token == "<M>":
        return dict(_OPEN_DLLM)
    raise UnsupportedModelError(
        f"The tokenizer of this {family} checkpoint has a mask token, {mask_token}: it may have "
        'been taught to denoise. Say how it attends with config={"attention": "bidirectional"} '
        'and "mask_id", or load it as an autoregressive model with config={"attention": '
        '"block_causal"}.'
    )


def config_from_json(values: Mapping[str, Any], **changes: Any) -> ModelConfig:
    """The configuration that a checkpoint's config.json states.

    `changes` are fields of ModelConfig that override the file or add to it, such as the
    `block_length` and `attention` of a tiny-A2D bd3lm checkpoint.

    Raises:
        UnsupportedModelError: the model_type is not known, or has parts that the engine lacks.
        ModelFileError: a needed field is missing, or a number is none.
    """
    if values.get("model_type") == "mistral":
        values = {"sliding_window": _MISTRALS_WINDOW, **values}
    # A field that is null is as good as absent; a mask token is sought elsewhere before.
    values = {k: v for k, v in values.items() if v is not None or k == "mask_token_id"}
    if "attention" in changes:  # which says how it attends, whatever the file does
        values = {k: v for k, v in values.items() if k != "is_causal"}
    family = values.get("model_type")
    if not isinstance(family, str) or family not in _FAMILIES:
        raise UnsupportedModelError(
            f"Checkpoints of the model_type {family!r} are not supported; these are: "
            f"{', '.join(_FAMILIES)}."
        )
    read = _read_llada if family == "llada" else _read_hugging_face
    fields_of_json.check(family, values)
    try:
        fields = {"family": family, **_FAMILIES[family], **read(family, values), **changes}
    except KeyError as error:
        raise ModelFileError(f"The checkpoint's config.json lacks {error}.") from error
    except ZeroDivisionError as error:
        raise ModelFileError("The checkpoint's config.json says that it has no heads.") from error
    return ModelConfig(**fields)


def _read_llada(family: str, values: Mapping[str, Any]) -> dict[str, Any]:
    if values.get("block_type", "llama") != "llama" or "num_experts" in values:
        raise UnsupportedModelError("Only LLaDA's dense models of the block type llama are known.")
    heads = values["n_heads"]
    vocabulary = values.get("embedding_size") or values["vocab_size"]
    ends = fields_of_json.token_ids("config.json", values["eos_token_id"])
    mask = values.get("mask_token_id", _LLADA_MASK_IDS.get(vocabulary))
    if vocabulary in _LLADA_ENDS_OF_TURN:
        ends.append(_LLADA_ENDS_OF_TURN[vocabulary])
    return {
        "vocab_size": vocabulary,
        "hidden_size": values["d_model"],
        "intermediate_size": values["mlp_hidden_size"],
        "num_layers": values["n_layers"],
        "num_heads": heads,
        "num_kv_heads": values.get("n_kv_heads") or heads,
        "head_dim": values["d_model"] // heads,
        "context_length": values["max_sequence_length"],
        "rope_theta": values["rope_theta"],
        "norm_eps": values.get("rms_norm_eps", 1e-5),
        "eos_ids": tuple(dict.fromkeys(ends)),
        "mask_id": mask,
        "tied_head": values["weight_tying"],
    }


def _read_hugging_face(family: str, values: Mapping[str, Any]) -> dict[str, Any]:
    heads, hidden = values["num_attention_heads"], values["hidden_size"]
    turning = rope.stated(values)
    context = values["max_position_embeddings"]
    eos = values.get("eos_token_id")
    eos = values.get("pad_token_id") if eos is None else eos
    if eos is None:
        raise KeyError("eos_token_id")
    head = _QWEN3S_HEAD if _FAMILIES[family].get("qk_norm") else hidden // heads
    fields = {
        "vocab_size": values["vocab_size"],
        "hidden_size": hidden,
        "intermediate_size": values["intermediate_size"],
        "num_layers": values["num_hidden_layers"],
        "num_heads": heads,
        "num_kv_heads": values.get("num_key_value_heads") or heads,
        "head_dim": values.get("head_dim") or head,
        "context_length": fields_of_json.within_window(values, context),
        "rope_theta": turning.get("rope_theta") or values.get("rope_theta", 10_000.0),
        "rope": rope.from_json(values, context),
        "norm_eps": values["rms_norm_eps"],
        "eos_ids": tuple(fields_of_json.token_ids("config.json", eos)),
        "mask_id": values.get("mask_token_id", _MASK_IDS.get(family)),
        "tied_head": values.get("tie_word_embeddings", False),
    }
    block = values.get("block_size", values.get("bd_size"))
    if block is None:
        return fields
    sub = _FAMILIES[family].get("sub_block_length")
    # A block that is shorter than its parts, or not a multiple of them, is one part.
    whole = sub is not None and block % sub != 0
    return fields | {"block_length": block} | ({"sub_block_length": None} if whole else {})


def check_gguf(metadata: Mapping[str, Any]) -> str:
    """The family of a GGUF file, all of whose fields are understood.

    Raises:
        UnsupportedModelError: the architecture is not llama, qwen2 or qwen3, or the file has a
            field that changes the model in a way that is not known here.
        ModelFileError: a number is none, or out of its range.
    """
    family = metadata.get("general.architecture")
    if not isinstance(family, str) or family not in _GGUF_FAMILIES:
        raise UnsupportedModelError(
            f"GGUF files of the architecture {family!r} are not supported; llama, qwen2 and "
            "qwen3 are."
        )
    fields_of_gguf.check(family, metadata)
    return family


def config_from_gguf(
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Any],
    divisors: tuple[float, ...] = (),
    **changes: Any,
) -> ModelConfig:
    """The configuration that a GGUF file states; `divisors` is its tensor rope_freqs.weight.

    Raises:
        UnsupportedModelError: the architecture is not llama, qwen2 or qwen3, or the file has a
            field that changes the model in a way that is not known here.
        ModelFileError: a needed field is missing.
    """
    family = check_gguf(metadata)
    try:
        found = _read_gguf(family, metadata, tensors, divisors)
        fields = {**_FAMILIES[family], **found, **changes}
        return ModelConfig(family=family, **fields)
    except KeyError as error:
        raise ModelFileError(f"The GGUF file lacks the field {error}.") from error
    except ZeroDivisionError as error:
        raise ModelFileError(f"The GGUF file says that a {family} has no heads.") from error


def _ends(metadata: Mapping[str, Any]) -> tuple[int, ...]:
    """Ids of all tokens that end a reply, as llama.cpp has them."""
    ends = [metadata[field] for field in fields_of_gguf.ENDS if metadata.get(field) is not None]
    if not ends:
        raise KeyError(fields_of_gguf.ENDS[0])
    return tuple(dict.fromkeys(ends))


def _read_gguf(
    family: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Any],
    divisors: tuple[float, ...],
) -> dict[str, Any]:
    heads = metadata[f"{family}.attention.head_count"]
    hidden = metadata[f"{family}.embedding_length"]
    head_dim = metadata.get(f"{family}.attention.key_length", hidden // heads)
    context = metadata[f"{family}.context_length"]
    return {
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "hidden_size": hidden,
        "intermediate_size": metadata[f"{family}.feed_forward_length"],
        "num_layers": metadata[f"{family}.block_count"],
        "num_heads": heads,
        "num_kv_heads": metadata.get(f"{family}.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "context_length": metadata.get(f"{family}.attention.sliding_window") or context,
        "rope_theta": metadata.get(f"{family}.rope.freq_base", 10_000.0),
        "rope": rope.from_gguf(metadata, family, head_dim, divisors),
        "norm_eps": metadata[f"{family}.attention.layer_norm_rms_epsilon"],
        "eos_ids": _ends(metadata),
        "tied_head": "output.weight" not in tensors,
    }
