"""What the options of a whole reply do: guidance, temperature, light canvases, cancellation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.plain_reference import llada
from support.tiny import tiny_config, tiny_engine, tiny_tokenizer
from test_reference_algorithms import BIDIRECTIONAL, MASK, pair

from dllm_core import DecodeOptions, Engine, OptionError
from dllm_core.decode.batch import Batch

PROMPT = [5, 9, 2, 44, 17]
LIGHT = tiny_engine(tiny_config(mask_id=60, eos_ids=()))
CAUSAL = tiny_engine(tiny_config(eos_ids=()))
QUOTA = DecodeOptions(rule="quota", canvas_length=8, steps=8, max_tokens=24, eos_last=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.7, 2.5])
def test_guidance_steers_every_canvas_of_a_reply(seed: int, scale: float) -> None:
    plain, model = pair(seed, BIDIRECTIONAL)
    engine = Engine(model, tiny_tokenizer(), 128)
    expected: list[int] = []
    for _ in range(3):  # a canvas sees those before it as part of its prompt
        before = [*PROMPT, *expected]
        expected += llada(plain, before, MASK, length=8, block=8, steps=8, cfg=scale)
    assert list(engine.reply(PROMPT, options=replace(QUOTA, guidance=scale)).ids) == expected
    assert list(engine.reply(PROMPT, options=QUOTA).ids) != expected


@pytest.mark.slow
def test_a_light_canvas_runs_through_its_layers_only_and_leaves_the_prompt_whole() -> None:
    light = replace(QUOTA, canvas_layers=(1,))
    cache = LIGHT.new_cache()
    first = LIGHT.reply(PROMPT, cache, light)
    assert first.ids != LIGHT.reply(PROMPT, options=QUOTA).ids
    # The canvases that are done are read again as part of the prompt, by all layers.
    longer = [*PROMPT, *first.ids, 7, 8]
    again = LIGHT.reply(longer, cache, light)
    assert again.ids == LIGHT.reply(longer, options=light).ids


@pytest.mark.slow
def test_a_seed_is_a_reply() -> None:
    warm = replace(QUOTA, temperature=1.0, top_p=0.9)
    replies = [LIGHT.reply(PROMPT, options=replace(warm, seed=seed)).ids for seed in (0, 0, 1)]
    assert replies[0] == replies[1] != replies[2]


@pytest.mark.slow
def test_a_reply_may_be_begun_and_left_to_others() -> None:
    prompts = [PROMPT, [3, 3, 8], [*PROMPT, 11]]
    batch = Batch(LIGHT.model)
    replies = [LIGHT.begin(ids, LIGHT.new_cache(), QUOTA) for ids in prompts]
    for reply in replies:
        batch.submit(reply)
    while not batch.idle:
        batch.step()
    for ids, reply in zip(prompts, replies, strict=True):
        alone = list(LIGHT.iterate(ids, LIGHT.new_cache(), QUOTA))
        assert [s.canvas.ids for s in reply.steps] == [s.canvas.ids for s in alone]
        assert "".join(s.text for s in reply.steps) == "".join(s.text for s in alone)
        assert [s.stats is None for s in reply.steps] == [True] * (len(alone) - 1) + [False]


def test_options_that_do_not_suit_the_model_are_refused() -> None:
    with pytest.raises(OptionError, match=r"has no mask token\. Use fixed_point"):
        CAUSAL.begin(PROMPT, CAUSAL.new_cache(), QUOTA)
    with pytest.raises(OptionError, match="has an exact cache"):
        LIGHT.reply(PROMPT, options=replace(QUOTA, cache="dual"))
    blocks = tiny_engine(tiny_config(block_length=4, shift=False, mask_id=60))
    with pytest.raises(OptionError, match="needs causal attention and shifted logits"):
        blocks.reply(PROMPT, options=DecodeOptions())


def test_a_canvas_runs_through_some_layers() -> None:
    with pytest.raises(OptionError, match="names no layer"):
        DecodeOptions(canvas_layers=())
