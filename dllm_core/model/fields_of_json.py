"""The fields of a config.json: understood, known to be harmless, or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dllm_core.errors import ModelFileError, UnsupportedModelError
from dllm_core.model import field_types

_READ = {
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings",
    "rope_theta", "rope_parameters", "rope_scaling", "partial_rotary_factor",
    "original_max_position_embeddings", "rms_norm_eps", "eos_token_id", "pad_token_id",
    "mask_token_id", "tie_word_embeddings", "block_size", "bd_size", "sliding_window",
    "max_window_layers", "layer_types", "use_sliding_window",
}  # fmt: skip
"""Fields of the families of Hugging Face that are read."""

_READ_LLADA = {
    "model_type", "block_type", "n_heads", "n_kv_heads", "embedding_size", "vocab_size", "d_model",
    "mlp_hidden_size", "n_layers", "max_sequence_length", "rope_theta", "rms_norm_eps",
    "eos_token_id", "pad_token_id", "mask_token_id", "weight_tying", "num_experts",
}  # fmt: skip

_HARMLESS = {
    # What transformers writes about files, classes, training and generation.
    "architectures", "auto_map", "_name_or_path", "name_or_path", "transformers_version", "dtype",
    "torch_dtype", "initializer_range", "attention_dropout", "hidden_dropout", "resid_pdrop",
    "embd_pdrop", "attn_pdrop", "hidden_dropout_prob", "use_cache", "bos_token_id", "sep_token_id",
    "cls_token_id", "unk_token_id", "decoder_start_token_id", "pretraining_tp", "id2label",
    "label2id", "problem_type", "task_specific_params", "_attn_implementation",
    "attn_implementation", "_attn_implementation_autoset", "use_flash_attention_2", "fuse_norm",
    "fuse_cross_entropy", "fuse_swiglu", "chunk_size_feed_forward", "return_dict", "torchscript",
    "temperature", "top_p", "top_k", "do_sample", "max_length", "min_length", "num_beams",
    "repetition_penalty", "length_penalty", "diversity_penalty", "num_return_sequences",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "early_stopping", "typical_p",
    "num_beam_groups", "max_new_tokens", "use_cache_quantization", "use_cache_kernel",
    "use_logn_attn", "is_decoder", "router_aux_loss_coef", "output_router_logits",
    "gradient_checkpointing", "model_max_length", "unsloth_version", "unsloth_fixed",
    "remove_invalid_values", "finetuning_task", "tokenizer_class", "debug", "mlp_ratio",
    "transformers.js_config", "_commit_hash", "adapters", "training_args", "language",
    # LLaDA's, of its training and its kernels.
    "attention_layer_norm_with_affine", "block_group_size", "embedding_dropout",
    "residual_dropout", "flash_attention", "init_cutoff_factor", "init_device", "init_fn",
    "init_std", "layer_norm_with_affine", "precision", "rope_full_precision",
    "alibi_bias_max",
}  # fmt: skip

_ONE = ("logits_scaling", "logit_scale", "embedding_multiplier", "residual_multiplier",
        "attention_multiplier", "scale_emb", "output_multiplier", "embedding_scale")  # fmt: skip
"""Factors that change nothing where they are 1."""


_WHOLE = {
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "mask_token_id", "block_size",
    "bd_size", "sliding_window", "original_max_position_embeddings", "n_heads", "n_kv_heads",
    "embedding_size", "d_model", "mlp_hidden_size", "n_layers", "max_sequence_length",
}  # fmt: skip
_REAL = {"rope_theta", "rms_norm_eps", "partial_rotary_factor"}

_CAUSAL = {"llama", "qwen2", "qwen3", "mistral"}
"""Families of transformers' own classes, which `is_causal = false` makes encoders."""

_ATTENTIONS = {"full_attention", "sliding_attention"}
"""Kinds of layers that are read in `layer_types`."""


def _is(*allowed: object) -> Callable[[object], bool]:
    return lambda value: value in allowed


_REQUIRED: dict[str, Callable[[object], bool]] = {
    "hidden_act": _is("silu", "swish"),
    "activation_type": _is("silu", "swiglu"),
    "layer_norm_type": _is("rms"),
    "rope": _is(True),
    **{name: _is(1, 1.0) for name in _ONE},
}
"""Fields that must have one of these values."""


def check(family: str, values: Mapping[str, Any]) -> None:
    """Refuse a config.json with a field that may change the model in a way that is not known here.

    A field that is switched off (false, null, 0 or empty) changes nothing.

    Raises:
        UnsupportedModelError: there is such a field; the message has its value.
        ModelFileError: a number is none, or out of its range.
    """
    field_types.check("The checkpoint's config.json", values, _WHOLE, _REAL)
    read = _READ_LLADA if family == "llada" else _READ
    strange = {}
    for name, value in values.items():
        if name in _REQUIRED:
            if value is not None and not _REQUIRED[name](value):
                strange[name] = value
        elif name not in read and name not in _HARMLESS and not _harmless(name, family, value):
            strange[name] = value
    strange |= _strange_layers(values)
    if strange:
        listed = ", ".join(f"{name} = {value!r}"[:80] for name, value in sorted(strange.items()))
        raise UnsupportedModelError(
            f"The checkpoint's config.json has what a {family} model is not known to have here: "
            f"{listed}. Without it, replies could be wrong without a sign. If a field says nothing "
            "about the model, take it out of config.json."
        )


def _strange_layers(values: Mapping[str, Any]) -> dict[str, Any]:
    """`layer_types`, unless it is a list of known kinds, one for each layer."""
    kinds = values.get("layer_types")
    if not kinds:
        return {}
    fits = isinstance(kinds, list) and len(kinds) == values.get("num_hidden_layers")
    known = fits and all(isinstance(kind, str) and kind in _ATTENTIONS for kind in kinds)
    return {} if known else {"layer_types": kinds}


def token_ids(where: str, ids: object) -> list[int]:
    """Token ids as a file states them: one, several or none (null).

    Raises:
        ModelFileError: it states something else.
    """
    found = ids if isinstance(ids, list) else [] if ids is None else [ids]
    for i in found:
        if not field_types.is_whole(i):
            raise ModelFileError(
                f"{where} has {i!r}"[:200] + " among eos_token_id, where ids of tokens belong."
            )
    return list(dict.fromkeys(found))


def _harmless(name: str, family: str, value: object) -> bool:
    if name == "is_causal":
        return bool(value) if family in _CAUSAL else not value
    if name == "attention_bias":  # Qwen2's query, key and value have a bias, whatever this says
        return not value or family in ("qwen2", "Dream", "Fast_dLLM_Qwen", "a2d-qwen2")
    return not value


def within_window(values: Mapping[str, Any], context: int) -> int:
    """Positions up to which sliding windows cut nothing off: the context, or the window."""
    window = values.get("sliding_window")
    kinds = values.get("layer_types")
    if window is None or values.get("use_sliding_window") is False:
        return context
    slides = values.get("use_sliding_window") or (kinds and "sliding_attention" in kinds)
    slides = slides or values.get("model_type") == "mistral"
    return min(context, int(window)) if slides else context
