import pytest
import torch
from support.tiny import tiny_cache, tiny_config, tiny_model

from dllm_core.decode.denoise import run
from dllm_core.decode.fixed_point import FixedPoint
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, Transformer, visibility

PROMPT = [5, 9, 2, 44, 17]
NEVER_ENDS = tiny_config(eos_ids=())


def greedy(model: Transformer, prompt: list[int], count: int) -> list[int]:
    """Autoregressive decoding without any cache: the whole sequence anew for every token."""
    ids = list(prompt)
    for _ in range(count):
        n = len(ids)
        span = Span(tiny_cache(model).store, 0, n, n, visibility(model.config, 0, n, n))
        ids.append(int(model.logits(model(torch.tensor(ids), [span]))[-1].argmax()))
    return ids[len(prompt) :]


def prefilled(model: Transformer, prompt: list[int]) -> PromptCache:
    cache, n = tiny_cache(model), len(prompt)
    span = Span(cache.store, 0, n, n, visibility(model.config, 0, n, n))
    model(torch.tensor(prompt), [span])
    cache.commit(prompt)
    return cache


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_fixed_point_is_greedy_decoding(length: int, seed: int) -> None:
    model = tiny_model(NEVER_ENDS, seed)
    cache = prefilled(model, PROMPT[:-1])
    denoiser = FixedPoint(model.config, cache, PROMPT[-1], length, max_tokens=30)
    final: list[int] = []
    while not denoiser.done:
        denoiser.absorb(run(model, denoiser.plan()))
        assert denoiser.final()[: len(final)] == final
        final = denoiser.final()
        assert cache.ids == (PROMPT + final)[: len(cache)]
    assert final == greedy(model, PROMPT, 30)


def test_fixed_point_stops_at_the_end_of_the_reply() -> None:
    expected = greedy(tiny_model(NEVER_ENDS), PROMPT, 12)
    end = expected[7]
    model = tiny_model(tiny_config(eos_ids=(end,)))
    cache = prefilled(model, PROMPT[:-1])
    denoiser = FixedPoint(model.config, cache, PROMPT[-1], 4, max_tokens=30)
    while not denoiser.done:
        denoiser.absorb(run(model, denoiser.plan()))
    assert denoiser.final() == expected[: expected.index(end) + 1]
    assert denoiser.view().masked == (False,) * len(denoiser.final())


def test_repetition_takes_fewer_steps_than_tokens() -> None:
    model = tiny_model(NEVER_ENDS)
    # A model that repeats its input: the head is the embedding, the blocks add nothing.
    for block in model.blocks:
        block.attention.out.weight.zero_()
        block.mlp.down.weight.zero_()
    cache = prefilled(model, PROMPT[:-1])
    denoiser = FixedPoint(model.config, cache, PROMPT[-1], 4, max_tokens=12)
    steps = 0
    while not denoiser.done:
        denoiser.absorb(run(model, denoiser.plan()))
        steps += 1
    assert steps == 3
    assert denoiser.final() == [PROMPT[-1]] * 12
