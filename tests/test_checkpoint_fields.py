"""Fields of a checkpoint that change the model are read or refused, never passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import byte_backend, write_checkpoint
from test_families import reference, save
from tokenizers import AddedToken

from dllm_core import Engine, OptionError, UnsupportedModelError


def changed(path: Path, file: str = "config.json", **values: Any) -> Path:
    old = json.loads((path / file).read_text()) if (path / file).exists() else {}
    (path / file).write_text(json.dumps(old | values))
    return path


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "llama", "llama")


@pytest.fixture
def llada(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "llada", "llada")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "gelu"), ("hidden_act", "gelu_pytorch_tanh"), ("attention_bias", True),
        ("mlp_bias", True), ("logits_scaling", 8.0), ("embedding_multiplier", 12.0),
        ("residual_multiplier", 0.22), ("attention_multiplier", 0.015), ("logit_scale", 0.06),
        ("final_logit_softcapping", 30.0), ("attn_logit_softcapping", 50.0), ("clip_qkv", 8.0),
        ("num_local_experts", 8), ("quantization_config", {"bits": 4}), ("no_rope_layers", [1, 0]),
        ("num_nextn_predict_layers", 1), ("some_new_thing", "yes"), ("qk_layernorm", True),
    ],
)  # fmt: skip
def test_a_field_that_changes_the_model_is_refused(llama: Path, field: str, value: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{field} = "):
        Engine.load(changed(llama, **{field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False), ("clip_qkv", None),
        ("logits_scaling", 1.0), ("torch_dtype", "bfloat16"), ("architectures", ["X"]),
        ("_name_or_path", "x/y"), ("pretraining_tp", 2), ("transformers_version", "4.1"),
        ("some_new_thing", False), ("quantization_config", None), ("rope_scaling", None),
        ("unsloth_version", "2026.1"), ("initializer_range", 0.02), ("bos_token_id", 3),
    ],
)  # fmt: skip
def test_a_harmless_field_is_passed_over(llama: Path, field: str, value: Any) -> None:
    assert Engine.load(changed(llama, **{field: value}), dtype="float32").config.family == "llama"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("activation_type", "gelu"), ("alibi", True), ("attention_layer_norm", True),
        ("include_bias", True), ("include_qkv_bias", True), ("layer_norm_type", "default"),
        ("rope", False), ("scale_logits", True), ("input_emb_norm", True),
        ("multi_query_attention", True), ("block_type", "sequential"),
    ],
)  # fmt: skip
def test_lladas_fields(llada: Path, field: str, value: Any) -> None:
    with pytest.raises(UnsupportedModelError):
        Engine.load(changed(llada, **{field: value}))


@pytest.mark.transformers
@pytest.mark.parametrize(
    "values",
    [
        {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 0},
        {
            "layer_types": ["sliding_attention"] * 2,
            "sliding_window": 40,
            "use_sliding_window": None,
        },
    ],
)
def test_a_sliding_window_bounds_the_context(tmp_path: Path, values: dict[str, Any]) -> None:
    """Up to the window's length the layers attend to everything, as they do here."""
    path = save(reference("Qwen2", True), "qwen2", tmp_path)
    assert Engine.load(changed(path, **values), dtype="float32").context == 40
    assert Engine.load(changed(path, use_sliding_window=False), dtype="float32").context == 128


@pytest.mark.transformers
def test_every_layer_of_mistral_slides(tmp_path: Path) -> None:
    path = save(reference("Mistral", True), "mistral", tmp_path)
    assert Engine.load(changed(path, sliding_window=40), dtype="float32").context == 40
    assert Engine.load(changed(path, sliding_window=None), dtype="float32").context == 128
    changed(path, max_position_embeddings=8192, sliding_window=None)
    values = json.loads((path / "config.json").read_text())
    del values["sliding_window"]
    (path / "config.json").write_text(json.dumps(values))
    assert Engine.load(path, dtype="float32").config.context_length == 4096


def with_mask(path: Path, token: str, *, named: bool) -> Path:
    backend = byte_backend()
    backend.add_special_tokens([AddedToken(token, special=True)])
    backend.save(str(path / "tokenizer.json"))
    settings = {"mask_token": token} if named else {}
    return changed(path, "tokenizer_config.json", **settings)


@pytest.mark.transformers
def test_an_open_dllm_checkpoint_is_a_diffusion_model(tmp_path: Path) -> None:
    path = with_mask(save(reference("Qwen2", True), "qwen2", tmp_path), "<M>", named=True)
    config = Engine.load(path, dtype="float32").config
    assert (config.attention, config.shift, config.mask_id) == ("bidirectional", True, 259)


@pytest.mark.transformers
def test_another_checkpoint_with_a_mask_must_say_how_it_attends(tmp_path: Path) -> None:
    path = with_mask(save(reference("Qwen2", True), "qwen2", tmp_path), "[MASK]", named=True)
    with pytest.raises(UnsupportedModelError, match=r"config=\{\"attention\": \"bidirectional\""):
        Engine.load(path)
    engine = Engine.load(path, dtype="float32", config={"attention": "bidirectional"})
    assert engine.config.mask_id == 259
    plain = Engine.load(
        path, dtype="float32", config={"attention": "block_causal", "mask_id": None}
    )
    assert plain.config.autoregressive
    assert plain.default_options.rule == "fixed_point"


@pytest.mark.transformers
@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("token", ["<|mask|>", "<|MASK|>", "[MASK]", "<mask>"])
@pytest.mark.parametrize("family", ["a2d-llama", "a2d-qwen3"])
def test_the_mask_token_of_a2d_has_several_names(
    family: str, token: str, named: bool, tmp_path: Path
) -> None:
    kind = "Llama" if family == "a2d-llama" else "Qwen3"
    path = with_mask(save(reference(kind, True), family, tmp_path), token, named=named)
    values = json.loads((path / "config.json").read_text())
    values.pop("mask_token_id", None)
    (path / "config.json").write_text(json.dumps(values))
    config = Engine.load(path, dtype="float32").config
    assert (config.mask_id, config.attention, config.shift) == (259, "bidirectional", False)


@pytest.mark.transformers
def test_a_name_that_only_the_tokenizers_settings_know(tmp_path: Path) -> None:
    path = with_mask(save(reference("Qwen3", True), "a2d-qwen3", tmp_path), "<gap>", named=True)
    values = json.loads((path / "config.json").read_text())
    values.pop("mask_token_id", None)
    (path / "config.json").write_text(json.dumps(values))
    assert Engine.load(path, dtype="float32").config.mask_id == 259


@pytest.mark.parametrize("wrong", [-1, 259, 10**6])
def test_a_token_outside_the_vocabulary_is_refused(llama: Path, wrong: int) -> None:
    engine = Engine.load(llama, dtype="float32")
    calls = [
        lambda: engine.reply([1, wrong, 2]),
        lambda: engine.prefill([1, wrong], engine.new_cache()),
        lambda: engine.fill([1, wrong, None]),
        lambda: engine.score([1, wrong], [2]),
        lambda: engine.score([1], [wrong]),
    ]
    for call in calls:
        with pytest.raises(OptionError, match="outside the vocabulary of 259"):
            call()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"block_lenght": 4}, "did you mean 'block_length'"),
        ({"block_length": "4"}, "block_length of the model's configuration cannot be '4'"),
        ({"attention": "causal"}, "There is no attention 'causal'"),
        ({"shift": 1}, "shift of the model's configuration"),
    ],
)
def test_fields_given_by_hand_are_checked(llama: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Engine.load(llama, config=config)
