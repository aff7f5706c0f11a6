"""Adapters: PEFT's files in both directions, merged and not, and clear refusals."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny import tiny_config, tiny_model

from dllm_core.adapt.network import Network, positions_of
from dllm_core.config import ModelConfig
from dllm_core.errors import AdapterError
from dllm_core.model import lora
from dllm_core.model.families import HUGGING_FACE, LLADA
from dllm_core.model.lora import Adapter, DenoiserSettings
from dllm_core.model.quantize import Int8Linear
from dllm_core.model.transformer import Linear
from dllm_core.model.weights import build, fill, slots

LLAMA = tiny_config(mask_id=60)
DIFFUSION = tiny_config(
    family="llada", attention="bidirectional", shift=False, num_kv_heads=6, tied_head=False,
    mask_id=60,
)  # fmt: skip


def random_adapter(config: ModelConfig, layers: tuple[int, ...] | None = None) -> Adapter:
    generator = torch.Generator().manual_seed(1)
    start = lora.fresh(config, rank=4, alpha=8, layers=layers, generator=generator)
    parts = {
        place: replace(part, b=torch.randn(part.b.shape, generator=generator) * 0.3)
        for place, part in start.parts.items()
    }
    row = torch.randn(config.hidden_size, generator=generator)
    return replace(start, parts=parts, mask_row=row)


def tensors_of(config: ModelConfig, names=HUGGING_FACE):
    """A checkpoint of tiny_model's weights under its published names."""
    model = tiny_model(config)
    for name, slot in slots(config, names).items():
        yield name, model.get_parameter(slot.parameter)[slot.rows].clone()


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    network = Network(model)
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    if model.config.attention == "bidirectional":
        causal = torch.ones_like(causal)
    with torch.no_grad():
        hidden = network(ids, positions_of(ids), causal.expand(len(ids), -1, -1))
        return model.logits(hidden.flatten(0, 1))


IDS = torch.randint(0, 60, (2, 9), generator=torch.Generator().manual_seed(3))


def peft_llama(config: ModelConfig, directory: Path | None, layers: list[int] | None = None):
    """transformers' llama with tiny_model's weights, under PEFT."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of these libraries among themselves
        from peft import LoraConfig, PeftModel, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        base = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                num_key_value_heads=config.num_kv_heads,
                head_dim=config.head_dim,
                max_position_embeddings=config.context_length,
                rope_theta=config.rope_theta,
                rms_norm_eps=config.norm_eps,
                tie_word_embeddings=True,
            )
        )
        base.load_state_dict(dict(tensors_of(config)), strict=False)
        if directory is not None:
            return PeftModel.from_pretrained(base, str(directory)).eval()
        chosen = LoraConfig(
            r=3, lora_alpha=5, target_modules=["q_proj", "v_proj", "down_proj"],
            layers_to_transform=layers, init_lora_weights=False,
            trainable_token_indices={"embed_tokens": [config.mask_id]},
        )  # fmt: skip
        return get_peft_model(base, chosen).eval()


@pytest.mark.transformers
@pytest.mark.slow
def test_peft_loads_what_is_saved_here(tmp_path: Path) -> None:
    adapter = random_adapter(LLAMA, layers=(1,))
    lora.save(adapter, LLAMA, tmp_path)
    ids = IDS.clone()
    ids[0, 3] = 60
    with torch.no_grad():
        theirs = peft_llama(LLAMA, tmp_path)(ids).logits.flatten(0, 1)
    model = tiny_model(LLAMA)
    plain = logits(model, ids)
    lora.attach(model, adapter)
    ours = logits(model, ids)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)
    assert float((ours - plain).abs().max()) > 0.1


@pytest.mark.transformers
@pytest.mark.slow
def test_what_peft_saves_loads_here(tmp_path: Path) -> None:
    theirs = peft_llama(LLAMA, None, layers=[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(str(tmp_path))
    model = tiny_model(LLAMA)
    lora.attach(model, lora.load(tmp_path, LLAMA))
    with torch.no_grad():
        expected = theirs(IDS).logits.flatten(0, 1)
    torch.testing.assert_close(logits(model, IDS), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("config", "names"), [(LLAMA, HUGGING_FACE), (DIFFUSION, LLADA)])
def test_merged_and_attached_are_the_same(config: ModelConfig, names, tmp_path: Path) -> None:
    lora.save(random_adapter(config), config, tmp_path)
    adapter = lora.load(tmp_path, config)
    attached = tiny_model(config)
    lora.attach(attached, adapter)
    merged = build(config, Linear, 128, torch.float32, torch.device("cpu"))
    changed = adapter.merged(tensors_of(config, names), slots(config, names))
    fill(merged, names, changed)
    lora.set_mask_row(merged, adapter)
    torch.testing.assert_close(logits(attached, IDS), logits(merged, IDS), atol=1e-4, rtol=1e-4)


def test_changes_are_added_to_int8_layers_too() -> None:
    adapter = random_adapter(LLAMA)
    model = build(LLAMA, Int8Linear, 128, torch.float32, torch.device("cpu"))
    fill(model, HUGGING_FACE, tensors_of(LLAMA))
    exact = tiny_model(LLAMA)
    for each in (model, exact):
        lora.attach(each, adapter)
    # The mask's own logit is left out: an int8 head keeps the row of the base, never asked for.
    found, expected = (logits(each, IDS)[:, :60] for each in (model, exact))
    assert float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())


def test_parts_of_a_fused_matrix_may_be_missing() -> None:
    adapter = random_adapter(LLAMA)
    only_k = {
        p: part for p, part in adapter.parts.items() if p == ("blocks.1.attention.qkv.weight", 48)
    }
    assert len(only_k) == 1
    model = tiny_model(LLAMA)
    x = torch.randn(5, 36)
    before = model.get_submodule("blocks.1.attention.qkv")(x)
    lora.attach(model, replace(adapter, parts=only_k))
    change = model.get_submodule("blocks.1.attention.qkv")(x) - before
    assert float(change[:, :48].abs().max()) == 0
    assert float(change[:, 72:].abs().max()) == 0
    assert float(change[:, 48:72].abs().min()) > 0


def test_settings_of_the_denoiser_travel_with_it(tmp_path: Path) -> None:
    settings = DenoiserSettings(mask_id=60, canvas_length=16, steps=4, canvas_layers=(0, 1))
    lora.save(replace(random_adapter(LLAMA), denoiser=settings), LLAMA, tmp_path)
    assert lora.load(tmp_path, LLAMA).denoiser == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "no LoRA but 'IA3'"),
        ({"use_dora": True}, "DoRA are not supported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save are not supported"),
    ],
)
def test_other_adapters_are_refused(tmp_path: Path, changes, message: str) -> None:
    lora.save(random_adapter(LLAMA), LLAMA, tmp_path)
    path = tmp_path / lora.SETTINGS
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(AdapterError, match=message):
        lora.load(tmp_path, LLAMA)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    lora.save(random_adapter(LLAMA), LLAMA, tmp_path)
    with pytest.raises(AdapterError, match="belongs to another base"):
        lora.load(tmp_path, tiny_config(mask_id=60, intermediate_size=48))
    with pytest.raises(AdapterError, match="belongs to another base"):
        lora.load(tmp_path, tiny_config(mask_id=60, num_layers=1))
    with pytest.raises(AdapterError, match="is no adapter"):
        lora.load(tmp_path / "nothing", LLAMA)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    lora.save(random_adapter(LLAMA), LLAMA, tmp_path)
    (tmp_path / lora.WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(AdapterError, match="missing or damaged"):
        lora.load(tmp_path, LLAMA)
