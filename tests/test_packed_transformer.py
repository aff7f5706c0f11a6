"""A whole model over the kernels of a CPU against the plain one over the same weights."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from support.tiny import tiny_config
from torch import Tensor, nn

from dllm_core.config import ModelConfig
from dllm_core.cpu import attention, prediction, product
from dllm_core.cpu.packed import PackedRows
from dllm_core.model import lora
from dllm_core.model.cache import KeyValues
from dllm_core.model.packed_transformer import PackedTransformer, prepare
from dllm_core.model.quantize import Int4Linear, Int8Linear, PackedLinear, Part
from dllm_core.model.transformer import Span, Transformer, visibility
from dllm_core.model.weights import build

# Kernels share their work among threads: one alone would show no race.
pytestmark = [pytest.mark.kernels, pytest.mark.threads(2)]

CPU = torch.device("cpu")
SHAPE: dict[str, Any] = {
    "hidden_size": 96, "intermediate_size": 160, "num_heads": 6, "num_kv_heads": 3, "head_dim": 32,
    "vocab_size": 64,
}  # fmt: skip
CONFIGS = {
    "llama": tiny_config(**SHAPE),
    "qwen2": tiny_config(**SHAPE, qkv_bias=True),
    "qwen3": tiny_config(**SHAPE, qk_norm=True),
    "blocks": tiny_config(**SHAPE, block_length=4),
    "both ways": tiny_config(**SHAPE, attention="bidirectional", mask_id=5),
    "own head": tiny_config(**SHAPE, tied_head=False),
}


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def packed_model(
    config: ModelConfig, kind: type[PackedLinear] = Int8Linear, context: int = 64
) -> Transformer:
    model = build(config, kind, context, torch.float32, CPU)
    for i, (name, tensor) in enumerate([*model.named_parameters(), *model.named_buffers()]):
        if name.endswith("bias"):
            tensor.copy_(drawn(*tensor.shape, seed=i))
        elif tensor.dtype == torch.float32 and not name.startswith("rotary"):
            scale = 1.0 if name == "embedding" else 0.4
            tensor.copy_(drawn(*tensor.shape, seed=i).mul_(scale))
            if "norm" in name:
                tensor.abs_().add_(0.5)
    for i, layer in enumerate(layers_of(model)):
        layer.store_rows(0, drawn(layer.out_features, layer.in_features, seed=100 + i) * 0.2)
    return model


def layers_of(model: nn.Module) -> list[PackedLinear]:
    return [layer for layer in model.modules() if isinstance(layer, PackedLinear)]


class Plain(nn.Module):
    """What a packed layer stands for, in float32."""

    def __init__(self, layer: PackedLinear) -> None:
        super().__init__()
        self.weight, self.bias = layer.packed.unpacked(), layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


def plain(model: Transformer) -> Transformer:
    """The same model without a kernel."""
    copy = Transformer(model.config, Int8Linear, 64)
    copy.load_state_dict(model.state_dict(), strict=False)
    for name, layer in model.named_modules():
        if isinstance(layer, PackedLinear):
            parent, _, attribute = name.rpartition(".")
            setattr(copy.get_submodule(parent), attribute, Plain(layer))
    return copy.requires_grad_(False)


def logits(model: Transformer, steps: list[list[tuple[int, int]]]) -> Tensor:
    """Of several passes over one cache or more: (start, rows) of each sequence's span."""
    stores = [KeyValues(model.config, 64, torch.float32, CPU) for _ in steps[0]]
    found = []
    for number, step in enumerate(steps):
        spans, ids = [], []
        for store, (start, rows) in zip(stores, step, strict=True):
            mask = visibility(model.config, start, rows, start + rows, canvas=start + 2)
            spans.append(Span(store, start, rows, start + rows, mask))
            ids += [(start + i + number) % model.config.vocab_size for i in range(rows)]
        found.append(model.logits(model(torch.tensor(ids), spans)))
    return torch.cat(found)


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_kernels_give_the_logits_of_the_plain_model(name: str) -> None:
    model = packed_model(CONFIGS[name])
    assert isinstance(model, PackedTransformer)
    steps = [[(0, 13)], [(13, 4)], [(17, 1)], [(12, 9)]]
    expected = logits(plain(model), steps)
    most = 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(logits(model, steps), expected, atol=most, rtol=0)


@torch.inference_mode()
def test_sequences_of_one_pass_do_not_see_each_other_by_a_single_bit() -> None:
    model = packed_model(CONFIGS["llama"])
    together = logits(model, [[(0, 9), (0, 5)], [(9, 2), (5, 3)]]).split([9, 5, 2, 3])
    alone = logits(model, [[(0, 9)], [(9, 2)]]).split([9, 2])
    assert torch.equal(together[0], alone[0])
    assert torch.equal(together[2], alone[1])


@torch.inference_mode()
def test_what_does_not_fit_its_memory_is_refused() -> None:
    model = packed_model(CONFIGS["llama"])
    store = KeyValues(model.config, 64, torch.float32, CPU)
    other = KeyValues(model.config, 64, torch.bfloat16, CPU)
    for rows, span in (
        (4, Span(store, 61, 4, 65)),
        (4, Span(store, 0, 4, 65)),
        (4, Span(store, -1, 4, 4)),
        (1, Span(store, 0, 4, 4)),
        (4, Span(store, 0, 4, 4, torch.ones(4, 3, dtype=torch.bool))),
        (4, Span(other, 0, 4, 4)),
    ):
        with pytest.raises(ValueError, match=r"for|fit"):
            model(torch.arange(rows), [span])


def test_a_pass_is_made_in_one_mode_and_run_in_another() -> None:
    model = packed_model(CONFIGS["llama"])
    with torch.inference_mode():
        inside = logits(model, [[(0, 9)]])
    assert torch.equal(logits(model, [[(0, 9)]]), inside)


@torch.inference_mode()
def test_many_shapes_of_passes_are_not_all_kept() -> None:
    model = packed_model(CONFIGS["llama"])
    first = logits(model, [[(0, 1)]])
    for rows in range(2, 40):
        logits(model, [[(0, rows)]])
    assert len(model._passes) == 16
    assert torch.equal(logits(model, [[(0, 1)]]), first)


@torch.inference_mode()
def test_a_cache_may_grow_between_two_passes_of_a_shape() -> None:
    model = packed_model(CONFIGS["llama"], context=2048)
    store, other = (KeyValues(model.config, 2048, torch.float32, CPU) for _ in range(2))
    ids = torch.arange(600) % 64
    for start in range(0, 600, 20):
        store.reserve(start + 20, keep=start)
        mask = visibility(model.config, start, 20, start + 20)
        span = Span(store, start, 20, start + 20, mask)
        parts = model_hidden(model, ids[start : start + 20], span)
    other.reserve(600, keep=0)
    whole = Span(other, 0, 600, 600, visibility(model.config, 0, 600, 600))
    torch.testing.assert_close(parts, model_hidden(model, ids, whole)[-20:], atol=1e-3, rtol=1e-3)


def model_hidden(model: Transformer, ids: Tensor, span: Span) -> Tensor:
    hidden: Tensor = model(ids, [span])
    return hidden


@torch.inference_mode()
def test_odd_shapes_run_without_the_kernels_of_a_block() -> None:
    config = replace(CONFIGS["llama"], head_dim=8)
    model = packed_model(config)
    assert not isinstance(model, PackedTransformer)
    steps = [[(0, 7)], [(7, 2)]]
    expected = logits(plain(model), steps)
    most = 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(logits(model, steps), expected, atol=most, rtol=0)


@pytest.mark.slow
@torch.inference_mode()
def test_an_adapter_is_added_around_the_layers() -> None:
    config = CONFIGS["llama"]
    model, copy = packed_model(config), plain(packed_model(config))
    generator = torch.Generator().manual_seed(4)
    adapter = lora.fresh(config, rank=4, alpha=8.0, layers=None, generator=generator)
    for part in adapter.parts.values():
        part.b.copy_(torch.randn(part.b.shape, generator=generator) * 0.1)
    before = logits(model, [[(0, 9)]])
    for each in (model, copy):
        lora.attach(each, adapter)
    found, expected = (logits(each, [[(0, 9)]]) for each in (model, copy))
    most = 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(found, expected, atol=most, rtol=0)
    assert float((found - before).abs().max()) > 10 * most


def test_kernels_can_be_compiled_beforehand() -> None:
    kernels = (product._kernel, attention._kernel, prediction.prepare)
    models = [packed_model(CONFIGS["llama"], kind) for kind in (Int4Linear, Int8Linear)]
    for kernel in kernels:
        kernel.cache_clear()
    for model in models:
        prepare(model)
    made = [kernel.cache_info().misses for kernel in kernels]
    assert all(made)
    for model in models:
        logits(model, [[(0, 9)], [(9, 2)], [(11, 1)]])
    assert [kernel.cache_info().misses for kernel in kernels] == made


@torch.inference_mode()
def test_a_prompt_is_read_at_once_or_word_by_word_to_the_last_bit() -> None:
    model = packed_model(CONFIGS["llama"])
    ids = torch.arange(23) * 7 % 64

    def read(pieces: list[int]) -> Tensor:
        store, found, start = KeyValues(model.config, 64, torch.float32, CPU), [], 0
        store.reserve(23, keep=0)
        for rows in pieces:
            mask = visibility(model.config, start, rows, start + rows)
            span = Span(store, start, rows, start + rows, mask)
            found.append(model_hidden(model, ids[start : start + rows], span))
            start += rows
        return torch.cat(found)

    together = read([23])
    for pieces in ([1] * 23, [9, 2, 12], [22, 1]):
        assert torch.equal(read(pieces), together)


@pytest.mark.parametrize("seed", range(4))
@torch.inference_mode()
def test_a_cache_is_cut_copied_and_looked_into_without_a_changed_bit(seed: int) -> None:
    model, draw = packed_model(CONFIGS["llama"], context=600), Random(seed)
    ids: list[int] = []

    def new() -> KeyValues:
        return KeyValues(model.config, 600, torch.float32, CPU)

    def read(store: KeyValues, more: list[int], start: int) -> Tensor:
        stop = start + len(more)
        store.reserve(stop, keep=start)
        mask = visibility(model.config, start, len(more), stop)
        return model_hidden(model, torch.tensor(more), Span(store, start, len(more), stop, mask))

    store, last = new(), torch.empty(0)
    for _ in range(60):
        match draw.choice(["read", "read", "read", "cut", "copy", "look"]):
            case "read":
                more = [draw.randrange(64) for _ in range(draw.choice([1, 2, 3, 7, 15, 17, 33]))]
                ids = ids[: 590 - len(more)]
                last = read(store, more, len(ids))
                ids += more
                assert torch.equal(last, read(new(), ids, 0)[-len(more) :])
            case "cut":
                ids = ids[: draw.randint(0, len(ids))]
            case "copy":
                other = new()
                other.reserve(len(ids), keep=0)
                other.copy_from(store, len(ids))
                store = other
            case "look":
                assert len(store.layers) == model.config.num_layers


@torch.inference_mode()
def test_weights_may_be_replaced_between_two_passes() -> None:
    model = packed_model(CONFIGS["llama"])
    first = logits(model, [[(0, 9)]])
    layer = layers_of(model)[0]
    layer.adopt([Part(0, PackedRows(layer.in_features, layer.out_features, layer.form))])
    layer.store_rows(0, drawn(layer.out_features, layer.in_features, seed=7) * 0.2)
    changed = logits(model, [[(0, 9)]])
    assert not torch.equal(changed, first)
    expected = logits(plain(model), [[(0, 9)]])
    most = 1e-3 * float(expected.abs().max())
    torch.testing.assert_close(changed, expected, atol=most, rtol=0)


@torch.inference_mode()
def test_a_copy_of_a_model_has_weights_and_passes_of_its_own() -> None:
    model = packed_model(CONFIGS["qwen2"])
    first = logits(model, [[(0, 9)]])
    for copied in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(logits(copied, [[(0, 9)]]), first)
        for layer in layers_of(copied):
            layer.store_rows(0, torch.zeros(layer.out_features, layer.in_features))
        assert not torch.equal(logits(copied, [[(0, 9)]]), first)
        assert torch.equal(logits(model, [[(0, 9)]]), first)


def test_threads_that_share_a_model_get_their_own_results() -> None:
    model = packed_model(CONFIGS["llama"])
    steps = [[[(0, rows)], [(rows, 1)]] for rows in (3, 9, 17, 30)]
    expected = [logits(model, step) for step in steps]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: logits(model, steps[i % 4]), range(80)))
    assert all(torch.equal(result, expected[i % 4]) for i, result in enumerate(found))
