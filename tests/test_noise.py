"""Noise of sampling: of its own in every canvas and every turn, the same for the same prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.tiny import tiny_config, tiny_engine

from dllm_core import DecodeOptions, PromptTooLongError
from dllm_core.config import ModelConfig

DIFFUSION = {"attention": "bidirectional", "shift": False, "mask_id": 60, "eos_ids": ()}
NOISY = DecodeOptions(
    rule="quota", steps=4, canvas_length=8, max_tokens=24, temperature=1.0, eos_last=False
)


def flat(config: ModelConfig) -> Any:
    """An engine whose logits are all the same: what it writes is its noise."""
    engine = tiny_engine(config)
    with torch.inference_mode():
        engine.model.norm.zero_()
    return engine


def test_canvases_of_one_reply_draw_noise_of_their_own() -> None:
    ids = flat(tiny_config(**DIFFUSION)).reply([1, 2, 3], options=NOISY).ids
    canvases = {ids[:8], ids[8:16], ids[16:]}
    assert len(canvases) == 3


@pytest.mark.slow
def test_turns_draw_noise_of_their_own_and_the_same_prompt_the_same() -> None:
    engine = flat(tiny_config(**DIFFUSION))
    replies = [engine.reply(ids, options=NOISY).ids for ids in ([1], [2], [1, 2], [2, 1], [1])]
    assert len(set(replies)) == 4
    assert replies[0] == replies[4]
    assert engine.reply([1], options=replace(NOISY, seed=5)).ids != replies[0]


@pytest.mark.parametrize("cache", ["none", "prefix", "dual", "prompt_frozen"])
def test_the_random_confidence_is_drawn_per_canvas_too(cache: Any) -> None:
    engine = flat(tiny_config(**DIFFUSION))
    options = replace(NOISY, temperature=0.0, confidence="random", steps=8, cache=cache)
    order: list[list[int]] = []
    masked: tuple[bool, ...] = ()
    for step in engine.submit([1, 2, 3], engine.new_cache(), options):
        now = step.canvas.masked
        before = masked + (True,) * (len(now) - len(masked))
        if len(now) > len(masked):
            order.append([])
        order[-1] += [
            i % 8 for i, (a, b) in enumerate(zip(before, now, strict=True)) if a and not b
        ]
        masked = now
    assert len(order) == 3
    assert len({tuple(canvas) for canvas in order}) == 3


@pytest.mark.parametrize(
    ("rule", "canvas", "longest"),
    [("quota", 32, 108), ("fixed_point", 1, 109), ("fixed_point", 8, 102)],
)
def test_a_prompt_may_be_as_long_as_the_reply_leaves_room_for(
    rule: Any, canvas: int, longest: int
) -> None:
    changes = {"eos_ids": ()} if rule == "fixed_point" else DIFFUSION
    engine = tiny_engine(tiny_config(**changes))  # a context of 128
    options = DecodeOptions(rule=rule, canvas_length=canvas, max_tokens=20, steps=2)
    assert len(engine.reply([1] * longest, options=options).ids) == 20
    with pytest.raises(PromptTooLongError):
        engine.reply([1] * (longest + 1), options=options)
