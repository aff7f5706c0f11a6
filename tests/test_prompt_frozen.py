"""A reply is the same however its prompt came: at once, word by word, or after other words."""

from __future__ import annotations

from typing import Any

import pytest
from support.tiny import tiny_config, tiny_engine

from dllm_core.config import DecodeOptions
from dllm_core.engine import Engine

SHAPES: dict[str, dict[str, Any]] = {
    "llada": {"attention": "bidirectional", "shift": False},
    "dream": {"attention": "bidirectional"},
    "sdar": {"block_length": 4, "shift": False},
    "fast_dllm": {"block_length": 8, "sub_block_length": 4, "leads_blocks": True},
    "bd3lm": {"block_length": 8, "shift": False, "pads_prompts": True},
    "adapted": {},
}


def made(shape: str) -> tuple[Engine, DecodeOptions]:
    engine = tiny_engine(tiny_config(mask_id=60, eos_ids=(), **SHAPES[shape]))
    cache: Any = "prompt_frozen" if engine.config.attention == "bidirectional" else "exact"
    options = DecodeOptions(
        rule="quota", steps=4, canvas_length=7, max_tokens=13, cache=cache, eos_last=False
    )
    return engine, options


@pytest.mark.slow
@pytest.mark.parametrize("shape", list(SHAPES))
def test_words_that_were_spoken_do_not_change_the_reply(shape: str) -> None:
    engine, options = made(shape)
    prompt = [1 + (5 * i) % 57 for i in range(23)]
    once = engine.reply(prompt, options=options).ids
    for sizes in ((1,) * 23, (9, 7, 7), (22, 1), (23,)):
        cache, read = engine.new_cache(), 0
        for size in sizes:
            read += size
            engine.prefill(prompt[:read], cache, options)
        assert engine.reply(prompt, cache, options).ids == once


@pytest.mark.slow
@pytest.mark.parametrize("shape", list(SHAPES))
def test_other_words_and_earlier_turns_do_not_change_the_reply(shape: str) -> None:
    engine, options = made(shape)
    cache, ids = engine.new_cache(), [1 + (3 * i) % 57 for i in range(9)]
    for turn in range(4):
        engine.prefill([*ids, 7, 8, 9], cache, options)
        engine.read([*ids, 44], cache, options)
        reply = engine.reply(ids, cache, options)
        assert reply.ids == engine.reply(ids, options=options).ids
        ids = [*ids, *reply.ids, *range(20, 24 + turn)]


@pytest.mark.parametrize("shape", ["llada", "dream"])
def test_the_same_prompt_is_not_read_again(shape: str) -> None:
    engine, options = made(shape)
    cache, prompt = engine.new_cache(), list(range(1, 15))
    engine.read(prompt, cache, options)
    reply = engine.reply(prompt, cache, options)
    assert reply.stats.prefill.new_tokens == 0
    again = engine.reply(prompt, cache, options)
    assert (again.ids, again.stats.prefill.new_tokens) == (reply.ids, 0)
