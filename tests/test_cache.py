from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import tiny_cache, tiny_config, tiny_model

from dllm_core.errors import PromptTooLongError
from dllm_core.model.cache import KeyValues

IDS = st.lists(st.integers(0, 3), max_size=12)
MODEL = tiny_model(tiny_config())


@given(IDS, IDS)
def test_shared_prefix_is_the_longest_one(cached: list[int], wanted: list[int]) -> None:
    cache = tiny_cache(MODEL)
    cache.commit(cached)
    n = cache.shared_prefix(wanted)
    assert cached[:n] == wanted[:n]
    assert n == min(len(cached), len(wanted)) or cached[n] != wanted[n]


def test_growing_keeps_what_is_valid() -> None:
    store = KeyValues(tiny_config(), 2048, torch.float32, torch.device("cpu"))
    first = store.capacity
    keys, _ = store.layers[1]
    keys[:, :5] = torch.arange(5.0)[:, None]
    store.reserve(first + 1, keep=5)
    assert store.capacity > first
    torch.testing.assert_close(store.layers[1][0][0, :5, 0], torch.arange(5.0))


def test_memory_is_bounded_by_the_limit() -> None:
    store = KeyValues(tiny_config(), 300, torch.float32, torch.device("cpu"))
    store.reserve(300, keep=0)
    assert store.capacity == 300
    with pytest.raises(PromptTooLongError, match="301 tokens"):
        store.reserve(301, keep=0)


def test_crop_rewinds_but_never_forward() -> None:
    cache = tiny_cache(MODEL)
    cache.commit([1, 2, 3])
    cache.crop(1)
    assert cache.ids == [1]
    with pytest.raises(IndexError):
        cache.crop(2)


_LENGTH = 40
OPERATION = st.one_of(
    st.tuples(st.just("write"), st.integers(0, _LENGTH - 1), st.integers(1, 20)),
    st.tuples(st.just("move"), st.integers(0, _LENGTH - 1), st.sets(st.integers(0, 20))),
    st.tuples(st.just("copy"), st.integers(1, _LENGTH), st.booleans()),
    st.tuples(st.just("grow"), st.integers(1, _LENGTH), st.none()),
    st.tuples(st.just("rows"), st.none(), st.none()),
    st.tuples(st.just("blocks"), st.none(), st.none()),
)


def in_rows(store: KeyValues, length: int) -> torch.Tensor:
    return torch.stack([torch.stack(layer)[:, :, :length] for layer in store.layers])


@given(st.lists(OPERATION, max_size=12), st.booleans())
def test_positions_are_kept_in_either_order_of_the_keys(steps: list[Any], blocked: bool) -> None:
    """After any changes, in blocks or in rows, a cache holds what a plain tensor does."""
    config, generator = tiny_config(), torch.Generator().manual_seed(0)

    def new() -> KeyValues:
        return KeyValues(config, 4096, torch.float32, torch.device("cpu"))

    def drawn(rows: int) -> torch.Tensor:
        shape = (config.num_layers, 2, config.num_kv_heads, rows, config.head_dim)
        return torch.randn(shape, generator=generator)

    def write(start: int, numbers: torch.Tensor) -> None:
        for layer, (keys, values) in enumerate(numbers):
            store.write(layer, start, keys, values)

    store, plain = new(), drawn(_LENGTH)
    valid = _LENGTH
    _ = store.blocks if blocked else store.layers
    write(0, plain)
    for kind, first, second in steps:
        if kind == "write":
            start = min(first, valid)
            more = drawn(min(second, _LENGTH - start))
            write(start, more)
            plain[..., start : start + more.shape[-2], :] = more
            valid = max(valid, start + more.shape[-2])
        elif kind == "move":
            rows = sorted(row for row in second if first + row < valid)
            store.move(first, rows)
            index = torch.tensor(rows, dtype=torch.long) + first
            plain[..., first : first + len(rows), :] = plain[..., index, :]
        elif kind == "copy":
            valid = min(first, valid)
            other = new()
            _ = other.blocks if second else other.layers
            other.reserve(valid, keep=0)
            other.copy_from(store, valid)
            store = other
        elif kind == "grow":
            valid = min(first, valid)
            store.reserve(store.capacity + 1, keep=valid)
        else:
            _ = store.blocks if kind == "blocks" else store.layers
        assert torch.equal(store.values(0)[:, :valid], plain[0, 1, :, :valid])
    assert torch.equal(in_rows(store, valid), plain[..., :valid, :])
