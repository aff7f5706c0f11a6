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
