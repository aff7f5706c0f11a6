"""Scaled and partial rotary positions against transformers, from shards and from GGUF files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFWriter
from support.checkpoints import byte_backend
from support.tiny import tiny_cache
from test_families import save
from torch import Tensor

from dllm_core import Engine, OptionError, UnsupportedModelError
from dllm_core.model.transformer import Span, visibility
from dllm_core.rope import Rope

pytestmark = pytest.mark.transformers
POSITIONS = 120
SIZES: dict[str, Any] = {
    "vocab_size": 260, "hidden_size": 48, "intermediate_size": 52, "num_hidden_layers": 2,
    "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 16,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "eos_token_id": 256,
    "bos_token_id": 256, "pad_token_id": 256, "attn_implementation": "eager",
}  # fmt: skip
SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "yarn, own betas": {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16,
        "beta_fast": 16, "beta_slow": 2,
    },
    "yarn, no truncation": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
        "truncate": False,
    },
    "yarn, attention": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
        "attention_factor": 1.4,
    },
    "yarn, mscale": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
        "mscale": 0.8, "mscale_all_dim": 0.5,
    },
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 32,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    },
}  # fmt: skip


def reference(kind: str, scaling: dict[str, Any]) -> Any:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        **SIZES, rope_parameters={"rope_theta": 500.0, **scaling}
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for name, parameter in model.named_parameters():
        if not name.endswith("norm.weight"):
            torch.nn.init.normal_(parameter, std=0.2)
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def token_ids() -> Tensor:
    return torch.randint(0, 250, (POSITIONS,), generator=torch.Generator().manual_seed(1))


def logits(engine: Engine) -> Tensor:
    n = POSITIONS
    span = Span(tiny_cache(engine.model).store, 0, n, n, visibility(engine.config, 0, n, n))
    return engine.model.logits(engine.model(token_ids(), [span]))


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("name", list(SCALINGS))
def test_logits_of_scaled_positions(name: str, kind: str, tmp_path: Path) -> None:
    model = reference(kind, SCALINGS[name])
    engine = Engine.load(save(model, kind.lower(), tmp_path), dtype="float32")
    with torch.inference_mode():
        expected = model(token_ids()[None]).logits[0]
    torch.testing.assert_close(logits(engine), expected, atol=2e-4, rtol=0)
    plain = Engine(engine.model, engine.tokenizer, 128)
    assert plain.config.rope.kind == SCALINGS[name]["rope_type"]


def test_the_older_spelling_of_a_scaling_is_read(tmp_path: Path) -> None:
    model = reference("Llama", SCALINGS["llama3"])
    path = save(model, "llama", tmp_path)
    values = json.loads((path / "config.json").read_text())
    scaling = values.pop("rope_parameters")
    values["rope_theta"] = scaling.pop("rope_theta")
    values["rope_scaling"] = {**scaling, "type": scaling.pop("rope_type")}
    (path / "config.json").write_text(json.dumps(values))
    with torch.inference_mode():
        expected = model(token_ids()[None]).logits[0]
    torch.testing.assert_close(
        logits(Engine.load(path, dtype="float32")), expected, atol=2e-4, rtol=0
    )


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "mrope"])
def test_other_scalings_are_refused(kind: str, tmp_path: Path) -> None:
    path = save(reference("Llama", {}), "llama", tmp_path)
    values = json.loads((path / "config.json").read_text())
    values["rope_parameters"] = {"rope_type": kind, "factor": 2.0, "rope_theta": 500.0}
    (path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UnsupportedModelError, match="Rotary positions of the kind"):
        Engine.load(path)


def partly_rotated(x: Tensor, width: int, theta: float) -> Tensor:
    """(heads, rows, head_dim) with its first `width` dimensions rotated in the half-split way."""
    places = torch.arange(x.shape[1])[:, None]
    angle = places / theta ** (torch.arange(0, width, 2) / width)
    a, b, rest = x[..., : width // 2], x[..., width // 2 : width], x[..., width:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


@pytest.mark.parametrize("kind", ["Llama", "Qwen3"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_part_of_a_head_is_rotated(
    kind: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = reference(kind, {})
    path = save(model, kind.lower(), tmp_path)
    values = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(values | {"partial_rotary_factor": share}))

    def apply(q: Tensor, k: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        width = int(16 * share)
        return tuple(partly_rotated(x[0], width, 500.0)[None] for x in (q, k))  # type: ignore

    module = f"transformers.models.{kind.lower()}.modeling_{kind.lower()}"
    monkeypatch.setattr(f"{module}.apply_rotary_pos_emb", apply)
    with torch.inference_mode():
        expected = model(token_ids()[None]).logits[0]
    for dtype, bound in (("float32", 2e-4), ("int8", 0.6)):
        found = logits(Engine.load(path, dtype=dtype))  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, atol=bound, rtol=0)


def write_gguf(path: Path, model: Any, arch: str, fields: dict[str, Any]) -> Path:
    """The model as convert_hf_to_gguf writes it: query and key rows of a llama interleaved."""
    values, config = model.state_dict(), model.config
    writer = GGUFWriter(path, arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(128)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(500.0)
    for name, value in fields.items():
        if name == "rope_freqs":
            writer.add_tensor("rope_freqs.weight", value)
        elif isinstance(value, str):
            writer.add_string(f"{arch}.{name}", value)
        elif isinstance(value, float):
            writer.add_float32(f"{arch}.{name}", value)
        else:
            writer.add_uint32(f"{arch}.{name}", value)
    backend = byte_backend()
    vocabulary = backend.get_vocab(with_added_tokens=True)
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    tokens.append("ab")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 256 + [3] * 3 + [1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(256)
    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    for name, value in values.items():
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            value = value.view(-1, 2, 8, *value.shape[1:]).transpose(1, 2).reshape(value.shape)
        target = name.replace("model.layers.", "blk.")
        for theirs, ours in names.items():
            target = target.replace(theirs, ours)
        writer.add_tensor(target, value.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama3_factors() -> Any:
    """The tensor rope_freqs as convert_hf_to_gguf makes it for Llama 3.1."""
    scaling = SCALINGS["llama3"]
    plain = Rope().frequencies(16, 500.0)
    scaled = Rope(
        kind="llama3", factor=scaling["factor"], original=32, low=1.0, high=4.0
    ).frequencies(16, 500.0)
    return (plain / scaled).astype("float32")


GGUF_FIELDS: dict[str, dict[str, Any]] = {
    "linear": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    "yarn": {
        "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 32,
    },
    "llama3": {"rope_freqs": None, "rope.dimension_count": 16},
}  # fmt: skip


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("name", list(GGUF_FIELDS))
def test_logits_of_a_gguf_with_scaled_positions(name: str, arch: str, tmp_path: Path) -> None:
    model = reference(arch.capitalize(), SCALINGS[name])
    fields = {k: llama3_factors() if v is None else v for k, v in GGUF_FIELDS[name].items()}
    engine = Engine.load(write_gguf(tmp_path / "m.gguf", model, arch, fields), dtype="float32")
    with torch.inference_mode():
        expected = model(token_ids()[None]).logits[0]
    torch.testing.assert_close(logits(engine), expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rope.scaling.type", "longrope"), ("expert_count", 8), ("logit_scale", 0.5),
        ("attention.causal", 2), ("rope.dimension_sections", 3), ("attention.value_length", 8),
        ("rope.scaling.yarn_ext_factor", 0.5), ("attention.clamp_kqv", 3.0),
    ],
)  # fmt: skip
def test_a_gguf_with_an_unknown_part_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", reference("Llama", {}), "llama", {field: value})
    with pytest.raises(UnsupportedModelError):
        Engine.load(path)


@pytest.mark.parametrize("field", ["expert_count", "rope.scaling.finetuned", "logit_scale"])
def test_a_part_that_is_switched_off_is_harmless(field: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", reference("Llama", {}), "llama", {field: 0})
    assert Engine.load(path, dtype="float32").config.rope.kind == "default"


def test_frequencies_are_checked() -> None:
    with pytest.raises(OptionError, match="3 factors of frequencies do not fit 8 pairs"):
        Rope(divisors=(1.0, 2.0, 3.0)).frequencies(16, 500.0)
    with pytest.raises(OptionError, match="original context"):
        Rope(kind="yarn", factor=2.0)
    assert Rope().frequencies(16, 500.0)[0] == 1.0
    assert math.isclose(Rope(kind="linear", factor=2.0).frequencies(16, 500.0)[0], 0.5)
