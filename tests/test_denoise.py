from itertools import islice

import pytest
import torch
from tiny import tiny_cache, tiny_config, tiny_model

from dllm_core.cache import PromptCache, causal
from dllm_core.denoise import fixed_point
from dllm_core.model import Span, Transformer

PROMPT = [5, 9, 2, 44, 17]


def greedy(model: Transformer, prompt: list[int], count: int) -> list[int]:
    """Autoregressive decoding without any cache: the whole sequence anew for every token."""
    ids = list(prompt)
    for _ in range(count):
        store = tiny_cache(model).store
        span = Span(store, 0, len(ids), len(ids), causal(len(ids), 0, torch.device("cpu")))
        ids.append(int(model.logits(model(torch.tensor(ids), [span]))[-1].argmax()))
    return ids[len(prompt) :]


def prefilled(model: Transformer, prompt: list[int]) -> PromptCache:
    cache = tiny_cache(model)
    n = len(prompt)
    span = Span(cache.store, 0, n, n, causal(n, 0, torch.device("cpu")))
    model(torch.tensor(prompt), [span])
    cache.commit(prompt)
    return cache


@pytest.mark.parametrize("length", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(5))
def test_fixed_point_is_greedy_decoding(length: int, seed: int) -> None:
    model = tiny_model(tiny_config(), seed)
    cache = prefilled(model, PROMPT[:-1])
    found: list[int] = []
    with torch.inference_mode():
        for step in fixed_point(model, cache, PROMPT[-1], length):
            assert 1 <= len(step.final) <= length
            assert len(step.final) + len(step.open) == length
            found += step.final
            if len(found) >= 30:
                break
    assert found[:30] == greedy(model, PROMPT, 30)
    assert cache.ids == (PROMPT + found)[: len(cache)]


def test_a_canvas_never_needs_more_steps_than_tokens_and_repetition_needs_fewer() -> None:
    model = tiny_model(tiny_config())
    # A model that repeats its input: the head is the embedding, the blocks add nothing.
    for block in model.blocks:
        block.attention.out.weight.zero_()
        block.mlp.down.weight.zero_()
    cache = prefilled(model, PROMPT[:-1])
    with torch.inference_mode():
        steps = list(islice(fixed_point(model, cache, PROMPT[-1], 4), 3))
    assert [len(step.final) for step in steps] == [4, 4, 4]
    assert all(token == PROMPT[-1] for step in steps for token in step.final)
