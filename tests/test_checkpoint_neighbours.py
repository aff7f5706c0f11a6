"""Configurations near those that are known: logits of transformers' classes, or one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoints import byte_backend
from support.tiny import tiny_cache
from test_families import SIZES

from dllm_core import Engine, ModelFileError, UnsupportedModelError, WeightsError
from dllm_core.model.transformer import Span, visibility

pytestmark = pytest.mark.transformers
ROWS = 90
YARN = {"rope_theta": 500.0, "rope_type": "yarn", "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
Edit = Callable[[dict[str, Any]], object]


def with_rope(**fields: Any) -> Edit:
    """The file's rotary fields in place of those that transformers wrote."""

    def edit(values: dict[str, Any]) -> None:
        for name in ("rope_parameters", "rope_scaling", "rope_theta"):
            values.pop(name, None)
        values.update(fields)

    return edit


def without(*names: str) -> Edit:
    return lambda values: [values.pop(name) for name in names]


def stated(**fields: Any) -> Edit:
    return lambda values: values.update(fields)


def nothing(values: dict[str, Any]) -> None:
    """Leave the file as transformers wrote it."""


WINDOW = {"sliding_window": 16, "use_sliding_window": True}
EQUAL: dict[str, tuple[str, dict[str, Any], Edit]] = {
    "window off": ("Qwen2", WINDOW | {"use_sliding_window": False}, nothing),
    "window on": ("Qwen2", WINDOW | {"max_window_layers": 1}, nothing),
    "window of no layer": ("Qwen2", WINDOW | {"max_window_layers": 2}, nothing),
    "window, no kinds": ("Qwen2", WINDOW | {"max_window_layers": 0}, without("layer_types")),
    "window of Mistral": ("Mistral", {"sliding_window": 16}, nothing),
    "window null": ("Mistral", {"sliding_window": None}, nothing),
    "window absent": ("Mistral", {}, without("sliding_window")),
    "window of a llama": ("Llama", {}, stated(sliding_window=16)),
    "bias that Qwen2 ignores": ("Qwen2", {}, stated(attention_bias=False, qkv_bias=False)),
    "wide heads": ("Llama", {"head_dim": 16}, nothing),
    "wide heads of Mistral": ("Mistral", {"head_dim": 16, "sliding_window": None}, nothing),
    "heads null": ("Llama", {}, stated(head_dim=None)),
    "heads absent": ("Qwen3", {"head_dim": 128}, without("head_dim")),
    "tied": ("Qwen3", {"tie_word_embeddings": True}, nothing),
    "tied absent": ("Llama", {}, without("tie_word_embeddings")),
    "large epsilon": ("Llama", {"rms_norm_eps": 1e-2}, nothing),
    "no epsilon": ("Llama", {"rms_norm_eps": 0.0}, nothing),
    "one key head": ("Llama", {"num_key_value_heads": 1}, nothing),
    "theta, old": ("Llama", {}, with_rope(rope_theta=500.0)),
    "theta, new": ("Llama", {}, with_rope(rope_parameters={"rope_theta": 500.0})),
    "theta, absent": ("Qwen3", {}, with_rope()),
    "linear, old": (
        "Llama",
        {},
        with_rope(rope_theta=500.0, rope_scaling={"type": "linear", "factor": 2.0}),
    ),
    "llama3, old": ("Llama", {}, with_rope(rope_theta=500.0, rope_scaling=LLAMA3)),
    "llama3, new": ("Llama", {}, with_rope(rope_parameters=LLAMA3 | {"rope_theta": 500.0})),
    "yarn, all": (
        "Qwen3",
        {},
        with_rope(rope_parameters=YARN | {"beta_fast": 16.0, "beta_slow": 2.0, "truncate": False}),
    ),
    "yarn, factor": ("Qwen2", {}, with_rope(rope_parameters=YARN | {"attention_factor": 1.3})),
    "causal stated": ("Llama", {}, stated(is_causal=True)),
}
REFUSED: dict[str, tuple[str, dict[str, Any], Edit, str]] = {
    "biases of attention": ("Llama", {"attention_bias": True}, nothing, "attention_bias = True"),
    "biases of Qwen3": ("Qwen3", {"attention_bias": True}, nothing, "attention_bias = True"),
    "biases of the MLP": ("Llama", {"mlp_bias": True}, nothing, "mlp_bias = True"),
    "encoder": ("Llama", {}, stated(is_causal=False), "is_causal = False"),
    "dynamic": ("Llama", {}, with_rope(rope_scaling={"type": "dynamic", "factor": 2.0}), "dynamic"),
    "activation": ("Llama", {"hidden_act": "gelu"}, nothing, "hidden_act = 'gelu'"),
    "epsilon absent": ("Llama", {}, without("rms_norm_eps"), "lacks 'rms_norm_eps'"),
    "head absent": (
        "Llama",
        {"tie_word_embeddings": True},
        stated(tie_word_embeddings=False),
        "head",
    ),
    "quantised": ("Llama", {}, stated(quantization_config={"bits": 4}), "quantization_config"),
}


def save(kind: str, fields: dict[str, Any], edit: Edit, path: Path, dtype: torch.dtype) -> Path:
    import transformers

    torch.manual_seed(0)
    sizes = SIZES | {"hidden_size": 48} | fields
    model = getattr(transformers, f"{kind}ForCausalLM")(
        getattr(transformers, f"{kind}Config")(**sizes)
    )
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, *((1, 0.1) if name.endswith("norm.weight") else (0, 0.2)))
    values, state = model.config.to_dict(), model.to(dtype).state_dict()
    if values["tie_word_embeddings"]:
        del state["lm_head.weight"]
    edit(values)
    (path / "config.json").write_text(json.dumps(values))
    save_file({k: v.contiguous() for k, v in state.items()}, path / "model.safetensors")
    byte_backend().save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return path


def assert_equal(kind: str, path: Path) -> None:
    """Up to where a window bounds the context, beside what transformers reads from the files."""
    import transformers

    engine = Engine.load(path, dtype="float32")
    n = min(ROWS, engine.context)
    ids = torch.randint(0, 250, (n,), generator=torch.Generator().manual_seed(1))
    mask = visibility(engine.config, 0, n, n)
    store = tiny_cache(engine.model).store
    ours = engine.model.logits(engine.model(ids, [Span(store, 0, n, n, mask)]))
    loaded = getattr(transformers, f"{kind}ForCausalLM").from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.inference_mode():
        theirs = loaded.eval()(ids[None]).logits[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("kind", "fields", "edit"), EQUAL.values(), ids=EQUAL)
def test_logits_are_those_of_transformers(
    kind: str, fields: dict[str, Any], edit: Edit, tmp_path: Path
) -> None:
    assert_equal(kind, save(kind, fields, edit, tmp_path, torch.float32))


@pytest.mark.parametrize("kind", ["Llama", "Qwen3"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_number_formats_of_a_checkpoint(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    name = str(dtype).removeprefix("torch.")
    assert_equal(kind, save(kind, {}, stated(torch_dtype=name, dtype=name), tmp_path, dtype))


@pytest.mark.parametrize(("kind", "fields", "edit", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_known_is_refused(
    kind: str, fields: dict[str, Any], edit: Edit, words: str, tmp_path: Path
) -> None:
    path = save(kind, fields, edit, tmp_path, torch.float32)
    with pytest.raises((ModelFileError, UnsupportedModelError, WeightsError)) as caught:
        Engine.load(path, dtype="float32")
    assert words in str(caught.value)


def test_an_encoder_is_read_if_told_how_it_attends(tmp_path: Path) -> None:
    path = save("Qwen3", {}, stated(is_causal=False), tmp_path, torch.float32)
    engine = Engine.load(path, config={"attention": "bidirectional", "mask_id": 258})
    assert engine.config.attention == "bidirectional"
