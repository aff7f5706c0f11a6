"""The fields of a GGUF file's header: understood, known to be harmless, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dllm_core.errors import UnsupportedModelError
from dllm_core.model import field_types

_ELSEWHERE = ("general.", "tokenizer.", "quantize.", "imatrix.")
"""Beginnings of fields about files, tokenizers and how they were made."""

_READ = {
    "context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size",
    "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.value_length", "attention.layer_norm_rms_epsilon", "attention.sliding_window",
    "rope.dimension_count", "rope.freq_base", "rope.scale_linear", "rope.scaling.type",
    "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.attn_factor",
    "rope.scaling.finetuned", "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
}  # fmt: skip
"""Fields of a family that are read, without its name."""

_WHOLE = {
    "context_length", "embedding_length", "block_count", "feed_forward_length", "vocab_size",
    "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.sliding_window", "rope.dimension_count", "rope.scaling.original_context_length",
}  # fmt: skip
_REAL = {
    "attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.scale_linear",
    "rope.scaling.factor", "rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
}  # fmt: skip
ENDS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))
"""Fields with the tokens that end a reply: of a text, of a turn, of a message to a tool."""
_TOKENS = {*ENDS, "tokenizer.ggml.bos_token_id"}

_ONES = ("logit_scale", "embedding_scale", "residual_scale", "attention.scale")


def check(family: str, metadata: Mapping[str, Any]) -> None:
    """Refuse a file with a field that may change the model in a way that is not known here.

    Raises:
        UnsupportedModelError: there is such a field; the message has its value.
        ModelFileError: a number is none, or out of its range.
    """
    strange = {name: value for name, value in metadata.items() if _is_strange(name, value, family)}
    key, value = f"{family}.attention.key_length", f"{family}.attention.value_length"
    if metadata.get(key) != metadata.get(value, metadata.get(key)):
        strange[value] = metadata[value]
    for name in ("attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        whole = f"{family}.{name}"
        if isinstance(metadata.get(whole), list):
            strange[whole] = metadata[whole]
    if metadata.get("split.count", 1) not in (0, 1):
        raise UnsupportedModelError(
            f"This is one of {metadata['split.count']} files of a model: join them with "
            "llama-gguf-split --merge first."
        )
    if strange:
        listed = ", ".join(f"{name} = {value!r}"[:80] for name, value in sorted(strange.items()))
        raise UnsupportedModelError(
            f"The GGUF file has what a {family} model is not known to have here: {listed}. Without "
            "it, replies could be wrong without a sign."
        )
    own = [{f"{family}.{name}" for name in names} for names in (_WHOLE, _REAL)]
    field_types.check("The GGUF file", metadata, own[0] | _TOKENS, own[1])


def _is_strange(name: str, value: object, family: str) -> bool:
    if name.startswith((*_ELSEWHERE, "split.")) or name.removeprefix(f"{family}.") in _READ:
        return False
    off = value in (0, False, "", None) or value == []
    return not off and not (name.removeprefix(f"{family}.") in _ONES and value == 1.0)
