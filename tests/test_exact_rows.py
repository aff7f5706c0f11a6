"""Rows of a pass give the same bits whatever stands beside them: what makes drafts lossless."""

from dataclasses import replace

import pytest
import torch
from support.tiny import tiny_config, tiny_model
from test_packed_transformer import SHAPE, packed_model
from torch import Tensor, nn

from dllm_core.config import ModelConfig
from dllm_core.model.cache import KeyValues
from dllm_core.model.quantize import Int4Linear, Int8Linear
from dllm_core.model.transformer import Linear, Span, Taps, Transformer, visibility

CPU = torch.device("cpu")
CONTEXT = 96
PROMPT = 37
CONFIGS = {
    "llama": tiny_config(**SHAPE),
    "qwen3": tiny_config(**SHAPE, qk_norm=True),
    "own head": tiny_config(**SHAPE, tied_head=False, qkv_bias=True),
}
KINDS = {"int4": Int4Linear, "int8": Int8Linear, "float32": Linear}


def model_of(config: ModelConfig, kind: type[nn.Module]) -> Transformer:
    if kind is not Linear:
        return packed_model(config, kind, CONTEXT)  # type: ignore[arg-type]
    return tiny_model(replace(config, context_length=CONTEXT))


def store_for(config: ModelConfig) -> KeyValues:
    store = KeyValues(config, CONTEXT, torch.float32, CPU)
    store.reserve(CONTEXT, keep=0)
    return store


def drawn_ids(count: int, seed: int) -> Tensor:
    return torch.randint(0, 64, (count,), generator=torch.Generator().manual_seed(seed))


def read(model: Transformer, store: KeyValues, start: int, ids: Tensor) -> Tensor:
    """Logits of consecutive rows."""
    stop = start + len(ids)
    mask = visibility(model.config, start, len(ids), stop)
    return model.logits(model(ids, [Span(store, start, len(ids), stop, mask)]))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@torch.inference_mode()
def test_rows_of_a_chain_are_those_of_single_steps_bit_by_bit(
    config: ModelConfig, kind: type[nn.Module]
) -> None:
    model = model_of(config, kind)
    ids = drawn_ids(PROMPT + 32, seed=3)
    alone = store_for(config)
    read(model, alone, 0, ids[:PROMPT])
    single = torch.cat([read(model, alone, i, ids[i : i + 1]) for i in range(PROMPT, len(ids))])
    for rows in range(1, 33):
        store = store_for(config)
        read(model, store, 0, ids[:PROMPT])
        together = read(model, store, PROMPT, ids[PROMPT : PROMPT + rows])
        assert torch.equal(together, single[:rows])
        for mine, other in zip(store.layers, alone.layers, strict=True):
            stop = PROMPT + rows
            assert all(
                torch.equal(a[:, :stop], b[:, :stop]) for a, b in zip(mine, other, strict=True)
            )


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("rows", [2, 3, 5, 7, 8, 13, 16, 24, 32])
@torch.inference_mode()
def test_rows_of_a_tree_are_those_of_single_steps_bit_by_bit(
    rows: int, kind: type[nn.Module]
) -> None:
    config = CONFIGS["llama"]
    model = model_of(config, kind)
    prompt, ids = drawn_ids(PROMPT, seed=1), drawn_ids(rows, seed=rows)
    generator = torch.Generator().manual_seed(rows)
    parents = [-1] + [int(torch.randint(0, i, (1,), generator=generator)) for i in range(1, rows)]
    paths: list[list[int]] = []
    for i, parent in enumerate(parents):
        paths.append([*(paths[parent] if parent >= 0 else []), i])
    store = store_for(config)
    read(model, store, 0, prompt)
    mask = torch.zeros(rows, PROMPT + rows, dtype=torch.bool)
    mask[:, :PROMPT] = True
    for i, path in enumerate(paths):
        mask[i, [PROMPT + j for j in path]] = True
    depths = torch.tensor([len(path) - 1 for path in paths])
    span = Span(store, PROMPT, rows, PROMPT + rows, mask, PROMPT + depths)
    tree = model.logits(model(ids, [span]))
    for i, path in enumerate(paths):
        alone = store_for(config)
        read(model, alone, 0, prompt)
        steps = [read(model, alone, PROMPT + at, ids[j : j + 1]) for at, j in enumerate(path)]
        assert torch.equal(tree[i : i + 1], steps[-1])


@torch.inference_mode()
def test_taps_keep_what_layers_leave_behind() -> None:
    config = replace(CONFIGS["llama"], num_layers=4)
    model = packed_model(config, Int8Linear, CONTEXT)
    ids, store = drawn_ids(9, seed=5), store_for(config)
    span = Span(store, 0, 9, 9, visibility(config, 0, 9, 9))
    taps = Taps.after((0, 2, 3), 9, config)
    hidden = model(ids, [span], None, taps)
    assert torch.equal(hidden, model(ids, [span]))
    for i, layer in enumerate(taps.layers):
        part = taps.features[:, i * 96 : (i + 1) * 96]
        assert torch.equal(part, model(ids, [span], range(layer + 1)))
