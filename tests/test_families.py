"""Logits of every family against transformers' own classes, with a block mask where it has one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.checkpoints import byte_backend
from support.tiny import tiny_cache

from dllm_core import DecodeOptions, Engine, ModelFileError, UnsupportedModelError, WeightsError
from dllm_core.model.families import config_from_json
from dllm_core.model.transformer import Span, visibility

SIZES: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 40,
    "intermediate_size": 52,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "eos_token_id": 256,
    "bos_token_id": 256,
    "pad_token_id": 256,
    "attn_implementation": "eager",
}
pytestmark = pytest.mark.transformers
FAMILIES = [
    ("llama", "Llama", 1),
    ("qwen2", "Qwen2", 1),
    ("qwen3", "Qwen3", 1),
    ("mistral", "Mistral", 1),
    ("sdar", "Qwen3", 4),
    ("Fast_dLLM_Qwen", "Qwen2", 32),
    ("a2d-qwen3", "Qwen3", None),
]


def reference(kind: str, tied: bool) -> Any:
    import transformers

    torch.manual_seed(0)
    # Only Qwen3 allows heads that do not fill the width.
    sizes = SIZES if kind == "Qwen3" else SIZES | {"hidden_size": 48}
    config = getattr(transformers, f"{kind}Config")(**sizes, tie_word_embeddings=tied)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for name, parameter in model.named_parameters():
        if not name.endswith("norm.weight"):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def save(model: Any, family: str, path: Path) -> Path:
    values = model.config.to_dict() | {"model_type": family}
    if family in ("sdar", "Fast_dLLM_Qwen", "a2d-qwen3"):
        values["mask_token_id"] = 258
    (path / "config.json").write_text(json.dumps(values))
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    if values["tie_word_embeddings"]:
        del state["lm_head.weight"]
    names = sorted(state)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, members in shards.items():
        save_file({name: state[name] for name in members}, path / shard)
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    index = {"metadata": {}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    byte_backend().save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return path


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("family", "kind", "block"), FAMILIES)
def test_logits_match(
    family: str, kind: str, block: int | None, tied: bool, tmp_path: Path
) -> None:
    model = reference(kind, tied)
    engine = Engine.load(save(model, family, tmp_path), dtype="float32")
    n = 37
    ids = torch.randint(0, 250, (n,), generator=torch.Generator().manual_seed(1))
    store = tiny_cache(engine.model).store
    mask = visibility(engine.config, 0, n, n)
    ours = engine.model.logits(engine.model(ids, [Span(store, 0, n, n, mask)]))
    places = torch.arange(n)
    seen = torch.ones(n, n, dtype=torch.bool)
    if block is not None:
        seen = places[None] // block <= places[:, None] // block
    with torch.inference_mode():
        theirs = model(ids[None], attention_mask=torch.where(seen, 0.0, -1e30)[None, None]).logits
    torch.testing.assert_close(ours, theirs[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["sdar", "Fast_dLLM_Qwen"])
def test_the_exact_cache_changes_nothing(family: str, tmp_path: Path) -> None:
    kind = "Qwen3" if family == "sdar" else "Qwen2"
    engine = Engine.load(save(reference(kind, True), family, tmp_path), dtype="float32")
    ids = [int(i) for i in torch.randint(0, 250, (45,), generator=torch.Generator().manual_seed(2))]
    fields: dict[str, Any] = {"canvas_length": 24, "max_tokens": 24, "threshold": 0.2}
    cached = DecodeOptions(rule="threshold", cache="exact", **fields)
    uncached = DecodeOptions(rule="threshold", cache="none", **fields)
    cache = engine.new_cache()
    for length in (7, 20, 33, 45):  # a growing transcript
        engine.prefill(ids[:length], cache)
    exact = engine.reply(ids, cache, cached)
    assert exact.ids == engine.reply(ids, options=uncached).ids
    assert exact.stats.prefill.new_tokens == 0
    longer = ids + list(exact.ids) + ids[:5]
    again = engine.reply(longer, cache, cached)
    assert again.ids == engine.reply(longer, options=uncached).ids


def test_int8_and_bfloat16_load_from_shards(tmp_path: Path) -> None:
    path = save(reference("Llama", False), "llama", tmp_path)
    for dtype in ("int8", "bfloat16"):
        engine = Engine.load(path, dtype=dtype)  # type: ignore[arg-type]
        assert engine.reply([1, 2, 3], options=DecodeOptions(max_tokens=4)).stats.forwards >= 1


def test_a_missing_shard_or_file_is_named(tmp_path: Path) -> None:
    path = save(reference("Llama", True), "llama", tmp_path)
    (path / "b.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"b\.safetensors is missing"):
        Engine.load(path)
    (path / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match=r"tokenizer\.json cannot be read"):
        Engine.load(path)
    (path / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config\.json cannot be read"):
        Engine.load(path)


def test_a_tokenizer_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    path = save(reference("Llama", True), "llama", tmp_path)
    values = json.loads((path / "config.json").read_text()) | {"vocab_size": 100, "eos_token_id": 1}
    (path / "config.json").write_text(json.dumps(values))
    with pytest.raises(WeightsError, match="different checkpoints"):
        Engine.load(path)


def test_other_families_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="'mamba'"):
        config_from_json({"model_type": "mamba"})
    with pytest.raises(ModelFileError, match="num_attention_heads"):
        config_from_json({"model_type": "qwen3"})
