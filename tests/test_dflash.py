"""DFlash checkpoints against the published model code (tests/data/golden/dflash)."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.drafters import engine_of
from support.tiny import tiny_config

from dllm_core.config import DecodeOptions
from dllm_core.draft.drafter import Drafter
from dllm_core.errors import DrafterError
from dllm_core.model.quantize import Int8Linear, PackedLinear
from dllm_core.model.transformer import Linear, Transformer
from dllm_core.model.weights import build

GOLDEN = Path(__file__).parent / "data" / "golden" / "dflash"
CONTEXT = 96


def base_model(kind: Any = Linear, **changes: object) -> Transformer:
    """A Qwen3 with the vectors' embedding and head; the rest is drawn."""
    vectors = load_file(GOLDEN / "vectors.safetensors")
    shape: dict[str, object] = {
        "family": "qwen3", "hidden_size": 64, "intermediate_size": 96, "num_layers": 6,
        "num_heads": 4, "num_kv_heads": 2, "head_dim": 32, "vocab_size": 80, "qk_norm": True,
        "tied_head": False, "norm_eps": 1e-6, "context_length": CONTEXT, "eos_ids": (0,),
    }  # fmt: skip
    model = build(
        tiny_config(**{**shape, **changes}), kind, CONTEXT, torch.float32, torch.device("cpu")
    )
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.dtype == torch.float32 and not name.startswith("rotary"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
            if name.endswith("norm"):
                tensor.abs_().add_(0.5)
    for layer in model.modules():
        if isinstance(layer, PackedLinear):
            shape_ = (layer.out_features, layer.in_features)
            layer.store_rows(0, torch.randn(shape_, generator=generator) * 0.2)
    if model.config.vocab_size == len(vectors["embedding"]):
        model.embedding.copy_(vectors["embedding"])
        if isinstance(model.head, PackedLinear):
            model.head.store_rows(0, vectors["head"])
        else:
            assert isinstance(model.head, Linear)
            model.head.weight.copy_(vectors["head"])
    return model


@pytest.mark.parametrize(("kind", "tolerance"), [(Linear, 1e-5), (Int8Linear, 0.05)])
def test_drafts_are_those_of_the_published_code(kind: Any, tolerance: float) -> None:
    drafter = Drafter.load(GOLDEN, base_model(kind), CONTEXT)
    vectors = load_file(GOLDEN / "vectors.safetensors")
    cache, start = drafter.new_cache(), 0
    for i, (token, rows) in enumerate(
        zip(vectors["tokens"].tolist(), vectors["rows"].tolist(), strict=True)
    ):
        drafter.extend(cache, vectors["features"][start : start + rows])
        start += rows
        expected = vectors[f"logits.{i}"]
        scores = drafter.scores([(cache, token)])[0]
        assert scores.shape == expected.shape
        assert (scores - expected).abs().max() <= tolerance * expected.abs().max()


def test_a_reply_with_such_a_drafter_is_that_of_the_model(tmp_path: Path) -> None:
    engine = engine_of(base_model(Int8Linear, eos_ids=()))
    engine.use_drafter(GOLDEN)
    for prompt in ([5, 9, 2], [44, 17, 3, 8, 21]):
        plain = engine.reply(prompt, options=DecodeOptions(max_tokens=20))
        mine = engine.reply(prompt, options=DecodeOptions(rule="draft", max_tokens=20))
        assert mine.ids == plain.ids


def changed(tmp_path: Path, **values: object) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "copy")
    path = tmp_path / "copy" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    (tmp_path / "copy" / "vectors.safetensors").unlink()
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"hidden_size": 128}, "its own drafter"),
        ({"num_target_layers": 7}, "its own drafter"),
        ({"vocab_size": 81}, "its own drafter"),
        ({"is_causal": True}, "causal"),
        ({"layer_types": ["sliding_attention"] * 3}, "sliding"),
        ({"attention_bias": True}, "biases"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rotary"),
        ({"dflash_config": {"target_layer_ids": [1, 3, 9], "mask_token_id": 79}}, "lacks"),
        ({"dflash_config": {"mask_token_id": 79}}, "target_layer_ids"),
        ({"dflash_config": {"target_layer_ids": [1], "mask_token_id": 1, "conv_kernel_size": 4}},
         "DFlash 2"),
        ({"num_hidden_layers": 4}, "lacks"),
        ({"intermediate_size": 128}, "shapes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_sentence(
    tmp_path: Path, values: dict[str, object], what: str
) -> None:
    with pytest.raises(DrafterError, match=what):
        Drafter.load(changed(tmp_path, **values), base_model(), CONTEXT)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    place = changed(tmp_path)
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(DrafterError, match="complete"):
        Drafter.load(place, base_model(), CONTEXT)
    weights.unlink()
    with pytest.raises(DrafterError, match="safetensors"):
        Drafter.load(place, base_model(), CONTEXT)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    place = changed(tmp_path)
    tensors = load_file(place / "model.safetensors")
    del tensors["fc.weight"]
    save_file(tensors, place / "model.safetensors")
    with pytest.raises(DrafterError, match=r"fc\.weight"):
        Drafter.load(place, base_model(), CONTEXT)
