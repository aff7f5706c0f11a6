"""A short first canvas: something to say early, and the same reply from there on."""

from __future__ import annotations

import pytest
from support.tiny import tiny_config, tiny_engine

from dllm_core import DecodeOptions, Engine, OptionError

PROMPT = [5, 9, 2, 44, 17, 8, 30, 12]
FREE = {"mask_id": 60, "eos_ids": ()}
BIDIRECTIONAL = tiny_engine(tiny_config(attention="bidirectional", shift=False, **FREE))
BLOCKS = tiny_engine(tiny_config(block_length=4, shift=False, **FREE))
LONG = DecodeOptions(rule="quota", canvas_length=16, steps=8, max_tokens=40)
SHORT = DecodeOptions(rule="quota", canvas_length=16, steps=8, max_tokens=40, first_canvas=4)


def forwards_until_spoken(engine: Engine, options: DecodeOptions, characters: int) -> int:
    text = ""
    for step in engine.iterate(PROMPT, engine.new_cache(), options):
        text += step.text
        if len(text) >= characters:
            return step.step
    raise AssertionError(f"the reply has {len(text)} characters only")


@pytest.mark.parametrize("engine", [BIDIRECTIONAL, BLOCKS])
def test_the_first_canvas_is_complete_after_its_share_of_the_steps(engine: Engine) -> None:
    steps = list(engine.iterate(PROMPT, engine.new_cache(), SHORT))
    complete = [step.canvas.masked.count(False) for step in steps]
    assert complete[1] == len(steps[1].canvas.ids) == 4
    assert steps[0].planned == 2
    assert len(steps[2].canvas.ids) == 4 + 16
    assert steps[2].planned == 8
    text = "".join(step.text for step in steps)
    assert text == engine.tokenizer.decode(steps[-1].canvas.ids)
    assert len(steps[-1].canvas.ids) == 40


def test_what_can_be_spoken_is_final_earlier() -> None:
    assert forwards_until_spoken(BIDIRECTIONAL, SHORT, 4) == 2
    assert forwards_until_spoken(BIDIRECTIONAL, LONG, 4) > 2


@pytest.mark.parametrize("engine", [BIDIRECTIONAL, BLOCKS])
def test_it_is_two_replies_one_after_the_other(engine: Engine) -> None:
    first = engine.reply(
        PROMPT, options=DecodeOptions(rule="quota", canvas_length=4, steps=2, max_tokens=4)
    )
    rest = engine.reply(
        [*PROMPT, *first.ids],
        options=DecodeOptions(rule="quota", canvas_length=16, steps=8, max_tokens=36),
    )
    assert engine.reply(PROMPT, options=SHORT).ids == first.ids + rest.ids


@pytest.mark.parametrize("first", [0, -1, 17])
def test_a_first_canvas_that_is_no_length_is_refused(first: int) -> None:
    with pytest.raises(OptionError, match="between 1 and the canvas_length of 16"):
        DecodeOptions(rule="quota", canvas_length=16, first_canvas=first)


def test_the_sliding_canvas_has_no_first_one() -> None:
    with pytest.raises(OptionError, match="fixed_point, whose one canvas slides"):
        DecodeOptions(canvas_length=4, first_canvas=2)
