"""Models trained on blocks, against the published loops on random models."""

from __future__ import annotations

from typing import Any

import pytest
from support.plain_reference import Plain, bd3lm, fast_dllm_v2, sdar
from support.tiny import tiny_engine, tiny_tokenizer
from test_reference_algorithms import MASK, pair

from dllm_core.config import DecodeOptions
from dllm_core.engine import Engine
from dllm_core.errors import OptionError, PromptTooLongError

pytestmark = pytest.mark.crossed

LENGTHS = (1, 2, 7, 8, 9, 15, 16, 17)


def engine_of(seed: int, **attention: Any) -> tuple[Plain, Engine]:
    plain, model = pair(seed, attention)
    return plain, Engine(model, tiny_tokenizer(), 128)


def prompt_of(length: int, seed: int) -> list[int]:
    return [1 + (7 * i + seed) % 58 for i in range(length)]


@pytest.mark.parametrize("cache", ["exact", "none"])
@pytest.mark.parametrize("tokens", [1, 4, 9])
@pytest.mark.parametrize("block", [4, 8])
def test_a_block_is_denoised_to_its_edge(block: int, tokens: int, cache: Any) -> None:
    for length in LENGTHS:
        plain, engine = engine_of(length, block_length=block, shift=False)
        prompt = prompt_of(length, tokens)
        edge = -(-(length + tokens) // block)
        chosen = DecodeOptions(
            rule="dynamic", threshold=0.9, steps=block * (edge - length // block), cache=cache,
            max_tokens=tokens, canvas_length=tokens, eos_last=False,
        )  # fmt: skip
        expected = sdar(plain, prompt, MASK, length=tokens, block=block, steps=block, threshold=0.9)
        assert engine.reply(prompt, options=chosen).ids == tuple(expected)


@pytest.mark.parametrize("cache", ["exact", "none"])
@pytest.mark.parametrize("threshold", [0.2, 0.6, 1.0])
@pytest.mark.parametrize(("block", "part"), [(8, 4), (8, 2), (16, 8), (8, 8)])
def test_fast_dllm_v2(block: int, part: int, threshold: float, cache: Any) -> None:
    for length in LENGTHS:
        plain, engine = engine_of(
            length, block_length=block, sub_block_length=part, leads_blocks=True
        )
        prompt = prompt_of(length, 3)
        expected, passes = fast_dllm_v2(
            plain, prompt, MASK, length=19, block=block, part=part, threshold=threshold
        )
        chosen = DecodeOptions(
            rule="threshold", threshold=threshold, max_tokens=19, canvas_length=19, cache=cache,
            eos_last=False,
        )  # fmt: skip
        found = engine.reply(prompt, options=chosen)
        assert found.ids == tuple(expected)
        assert found.stats.forwards <= passes


def test_canvases_of_fast_dllm_v2_join_seamlessly() -> None:
    plain, engine = engine_of(2, block_length=8, sub_block_length=4, leads_blocks=True)
    prompt = prompt_of(5, 1)
    expected, _ = fast_dllm_v2(plain, prompt, MASK, length=30, block=8, part=4, threshold=0.3)
    for canvas in (4, 8, 11, 30):
        chosen = DecodeOptions(
            rule="threshold", threshold=0.3, max_tokens=30, canvas_length=canvas, eos_last=False
        )
        cache = engine.new_cache()
        assert engine.reply(prompt, cache, chosen).ids == tuple(expected)
        assert engine.reply(prompt, cache, chosen).ids == tuple(expected)


@pytest.mark.parametrize("cache", ["exact", "none"])
@pytest.mark.parametrize(("tokens", "block"), [(4, 8), (16, 8), (20, 8), (13, 4)])
def test_bd3lm_counts_its_blocks_from_the_end_of_the_prompt(
    tokens: int, block: int, cache: Any
) -> None:
    for length in LENGTHS:
        plain, engine = engine_of(length, block_length=block, shift=False, pads_prompts=True)
        prompt, steps = prompt_of(length, 5), 3
        blocks = -(-tokens // block)
        chosen = DecodeOptions(
            rule="quota", steps=steps * blocks, max_tokens=tokens, canvas_length=tokens,
            cache=cache, eos_last=False,
        )  # fmt: skip
        expected = bd3lm(plain, prompt, MASK, length=tokens, block=block, steps=steps)
        used = engine.new_cache()
        engine.prefill(prompt[: length // 2], used, chosen)
        assert engine.reply(prompt, used, chosen).ids == tuple(expected)


def test_turns_of_bd3lm_reuse_only_what_is_still_exact() -> None:
    _, engine = engine_of(1, block_length=8, shift=False, pads_prompts=True)
    chosen = DecodeOptions(
        rule="quota", steps=4, max_tokens=8, canvas_length=8, eos_last=False, cache="exact"
    )
    used, ids = engine.new_cache(), prompt_of(9, 2)
    for turn in range(5):
        reply = engine.reply(ids, used, chosen)
        assert reply.ids == engine.reply(ids, options=chosen).ids
        ids = [*ids, *reply.ids, *prompt_of(3 + turn * 2, turn)]


def test_a_reply_of_blocks_is_cut_at_its_longest_length_in_text_and_canvas() -> None:
    _, engine = engine_of(3, block_length=8, shift=False)
    chosen = DecodeOptions(rule="quota", steps=3, max_tokens=4, canvas_length=4, eos_last=False)
    reply = engine.reply([5], options=chosen)
    assert len(reply.ids) == 4
    assert reply.stats.tokens == 4
    assert len(reply.text) <= 4


def test_a_block_length_that_does_not_divide_the_models_is_refused() -> None:
    _, engine = engine_of(3, block_length=8, shift=False)
    for length in (3, 16, 5):
        with pytest.raises(OptionError, match="trained on blocks of 8"):
            engine.reply([5], options=DecodeOptions(rule="quota", block_length=length))


def test_parts_of_a_block_are_finished_from_left_to_right() -> None:
    _, engine = engine_of(3, block_length=8, shift=False)
    chosen = DecodeOptions(
        rule="quota", steps=8, block_length=2, max_tokens=8, canvas_length=8, eos_last=False
    )
    for step in engine.submit(prompt_of(8, 1), engine.new_cache(), chosen):
        masked = step.canvas.masked
        first = masked.index(True) if True in masked else len(masked)
        assert all(masked[first // 2 * 2 + 2 :]) or not any(masked)


def test_the_last_block_must_fit_the_context() -> None:
    from support.tiny import tiny_config

    engine = tiny_engine(
        tiny_config(mask_id=MASK, eos_ids=(), block_length=8, shift=False, context_length=28)
    )
    chosen = DecodeOptions(rule="quota", steps=2, max_tokens=8, canvas_length=8)
    engine.reply([1] * 16, options=chosen)
    with pytest.raises(PromptTooLongError):
        engine.reply([1] * 17, options=chosen)
