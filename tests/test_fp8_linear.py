"""Eight-bit weights: how they are stored, and that rounds over them run."""

import pytest
import torch
from support.tiny import tiny_config, tiny_model, tiny_tokenizer

from dllm_core import DecodeOptions, OptionError
from dllm_core.engine import Engine
from dllm_core.gpu.paged_model import PROJECTIONS, PagedModel
from dllm_core.model.fp8_linear import Fp8Linear
from dllm_core.model.place import choose_kind
from dllm_core.model.transformer import Linear
from dllm_core.model.weights import build
from dllm_core.ops.fp8 import FP8

CONFIG = tiny_config(
    mask_id=60, hidden_size=32, intermediate_size=64, head_dim=16, num_heads=4, num_kv_heads=2
)


def fp8_model():
    model = build(CONFIG, Fp8Linear, 128, torch.bfloat16, torch.device("cpu"))
    exact = tiny_model(CONFIG)
    for name, parameter in model.named_parameters():
        parameter.copy_(exact.get_parameter(name))
    for block, source in zip(model.blocks, exact.blocks, strict=True):
        for path in PROJECTIONS:
            block.get_submodule(path).store_rows(0, source.get_submodule(path).weight)
    return model, exact


def test_building_a_model_keeps_eight_bits_in_the_blocks_only() -> None:
    model, _ = fp8_model()
    layer = model.blocks[0].attention.qkv
    assert (layer.weight.dtype, layer.scale.dtype) == (FP8, torch.float32)
    assert model.embedding.dtype == model.norm.dtype == torch.bfloat16
    untied = build(
        tiny_config(tied_head=False), Fp8Linear, 128, torch.bfloat16, torch.device("cpu")
    )
    assert type(untied.head) is Linear
    assert untied.head.weight.dtype == torch.bfloat16
    assert PagedModel.serves(model)


def test_rows_are_stored_where_they_belong_and_multiplied_with_their_scales() -> None:
    torch.manual_seed(0)
    layer, weight = Fp8Linear(32, 48, bias=True), torch.randn(48, 32)
    weight[40] *= 1000
    for start in (16, 0, 32):
        layer.store_rows(start, weight[start : start + 16])
    layer.bias = torch.randn(48, dtype=torch.bfloat16)
    x = torch.randn(5, 32, dtype=torch.bfloat16)
    expected = x.float() @ weight.T + layer.bias.float()
    error = (layer(x).float() - expected).norm(dim=0) / expected.norm(dim=0)
    assert layer(x).dtype == torch.bfloat16
    assert error.max() < 0.08


def test_logits_are_near_those_of_full_precision() -> None:
    model, exact = fp8_model()
    ids = list(range(1, 30))
    hidden = []
    for each in (model, exact):
        engine = Engine(each, tiny_tokenizer(), 128)
        engine.use_pages(8)
        cache = engine.new_cache()
        assert engine.gpu is not None
        with torch.inference_mode():
            hidden.append(engine.gpu.model.read(cache, ids).float())
    assert (hidden[0] - hidden[1]).norm() / hidden[1].norm() < 0.2


def test_replies_run_in_rounds() -> None:
    model, _ = fp8_model()
    engine = Engine(model, tiny_tokenizer(), 128)
    engine.use_pages(8)
    options = DecodeOptions(rule="quota", steps=4, canvas_length=8, max_tokens=16)
    reply = engine.reply([3, 1, 4], options=options)
    assert 0 < reply.stats.tokens <= 16


def test_a_cpu_is_told_what_to_use_instead() -> None:
    with pytest.raises(OptionError, match="use int8 or bfloat16"):
        choose_kind("fp8", torch.device("cpu"))
