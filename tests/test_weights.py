from collections.abc import Iterator

import pytest
import torch
from support.tiny import tiny_config, tiny_model

from dllm_core.errors import WeightsError
from dllm_core.model.families import GGUF, HUGGING_FACE, NameMap
from dllm_core.model.quantize import Int8Linear
from dllm_core.model.transformer import Linear, Transformer
from dllm_core.model.weights import build, fill, slots

CONFIG = tiny_config(qkv_bias=True, qk_norm=True, tied_head=False)
CPU = torch.device("cpu")


def checkpoint(model: Transformer, names: NameMap) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of `model` under the names of a checkpoint, in reverse order."""
    for name, slot in reversed(slots(model.config, names).items()):
        module, _, attribute = slot.parameter.rpartition(".")
        yield name, getattr(model.get_submodule(module), attribute)[slot.rows].clone()


@pytest.mark.parametrize("names", [HUGGING_FACE, GGUF])
def test_every_parameter_is_filled(names: NameMap) -> None:
    model = tiny_model(CONFIG)
    copy = build(CONFIG, Linear, 32, torch.float32, CPU)
    seen: list[float] = []
    fill(copy, names, checkpoint(model, names), lambda share, _: seen.append(share))
    for (name, wanted), (_, got) in zip(
        model.named_parameters(), copy.named_parameters(), strict=True
    ):
        assert torch.equal(wanted, got), name
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_int8_layers_are_quantised_part_by_part() -> None:
    model = tiny_model(CONFIG)
    copy = build(CONFIG, Int8Linear, 32, torch.float32, CPU)
    fill(copy, GGUF, checkpoint(model, GGUF))
    exact = model.blocks[1].attention.qkv.weight
    error = (copy.blocks[1].attention.qkv.packed.unpacked() - exact).abs().amax(1)
    assert (error <= 0.51 * (exact.amax(1) - exact.amin(1)) / 255 + 1e-6).all()


def test_missing_and_unexpected_tensors_are_named() -> None:
    tensors = dict(checkpoint(tiny_model(CONFIG), HUGGING_FACE))
    tensors["model.layers.0.extra"] = tensors.pop("model.layers.1.self_attn.k_proj.bias")
    with pytest.raises(WeightsError) as caught:
        fill(build(CONFIG, Linear, 32, torch.float32, CPU), HUGGING_FACE, tensors.items())
    assert "1 missing: model.layers.1.self_attn.k_proj.bias." in str(caught.value)
    assert "1 unexpected: model.layers.0.extra." in str(caught.value)


def test_a_wrong_shape_names_both_shapes() -> None:
    tensors = dict(checkpoint(tiny_model(CONFIG), HUGGING_FACE))
    tensors["model.norm.weight"] = torch.zeros(35)
    with pytest.raises(WeightsError, match=r"\(35,\).*\(36,\)"):
        fill(build(CONFIG, Linear, 32, torch.float32, CPU), HUGGING_FACE, tensors.items())


def test_a_tied_head_written_out_is_accepted() -> None:
    config = tiny_config()
    tensors = dict(checkpoint(tiny_model(config), HUGGING_FACE))
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    fill(build(config, Linear, 32, torch.float32, CPU), HUGGING_FACE, tensors.items())
