from copy import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import tiny_cache, tiny_config, tiny_model
from test_denoise import greedy
from test_reply import byte_tokenizer

from dllm_core import DecodeOptions, Engine, OptionError
from dllm_core.decode.canvas import Canvas
from dllm_core.decode.denoise import run
from dllm_core.decode.diffusion import Diffusion

TEMPLATES = st.lists(st.none() | st.integers(0, 59), min_size=1, max_size=24)
BIDIRECTIONAL = Engine(
    tiny_model(tiny_config(attention="bidirectional", mask_id=60, shift=False)),
    byte_tokenizer(),
    128,
)
CAUSAL = Engine(tiny_model(tiny_config()), byte_tokenizer(), 128)


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    TEMPLATES,
    st.sampled_from(["quota", "threshold", "factor", "entropy_bound", "dynamic", "remask"]),
)
def test_every_gap_is_filled_and_nothing_else_changes(
    template: list[int | None], rule: str
) -> None:
    options = DecodeOptions(rule=rule, threshold=0.4, eos_last=False)  # type: ignore[arg-type]
    filled = BIDIRECTIONAL.fill(template, options)
    assert len(filled) == len(template)
    assert 60 not in filled
    assert all(b == a for a, b in zip(template, filled, strict=True) if a is not None)


def test_without_adaptation_gaps_are_filled_greedily_from_the_left() -> None:
    filled = CAUSAL.fill([5, 9, None, None, 7, None])
    first = greedy(CAUSAL.model, [5, 9], 2)
    assert filled == (5, 9, *first, 7, *greedy(CAUSAL.model, [5, 9, *first, 7], 1))


def test_bad_templates_say_what_to_do() -> None:
    with pytest.raises(OptionError, match="empty"):
        CAUSAL.fill([])
    with pytest.raises(OptionError, match="begin with a known one"):
        CAUSAL.fill([None, 3])


def test_a_position_at_which_nothing_is_allowed_is_named() -> None:
    allowed = torch.ones(3, BIDIRECTIONAL.config.vocab_size, dtype=torch.bool)
    allowed[2] = False
    allowed[2, BIDIRECTIONAL.config.mask_id] = True
    with pytest.raises(OptionError, match="at open position 2 of the template"):
        BIDIRECTIONAL.fill([5, None, None], allowed=allowed)
    assert len(BIDIRECTIONAL.fill([5, None, 7], allowed=allowed)) == 3


def test_an_end_may_stand_in_a_gap_of_a_model_without_a_mask() -> None:
    model = CAUSAL.model
    (likeliest,) = greedy(model, [5, 9], 1)
    config = replace(model.config, eos_ids=(likeliest,))
    ends = copy(model)
    ends.config = config
    assert Engine(ends, byte_tokenizer(), 128).fill([5, 9, None, 7])[2] == likeliest


def test_only_allowed_tokens_are_written() -> None:
    model = BIDIRECTIONAL.model
    canvas = Canvas.after(model.config, [5, 9], 6, torch.device("cpu"))
    allowed = torch.zeros(len(canvas), model.config.vocab_size, dtype=torch.bool)
    allowed[:, 10:13] = True
    options = DecodeOptions(rule="quota", steps=3, eos_last=False)
    denoiser = Diffusion(model.config, canvas, tiny_cache(model), options, allowed=allowed)
    while not denoiser.done:
        denoiser.absorb(run(model, denoiser.plan()))
    assert set(denoiser.final()) <= {10, 11, 12}


def test_a_canvas_through_all_named_layers_is_the_plain_one() -> None:
    config = tiny_config(mask_id=60, eos_ids=())
    model = tiny_model(config)

    def reply(layers: tuple[int, ...] | None) -> list[int]:
        engine = Engine(model, byte_tokenizer(), 128)
        cache = engine.new_cache()
        engine.prefill([5, 9, 2], cache)
        options = DecodeOptions(rule="quota", steps=4, canvas_layers=layers, eos_last=False)
        canvas = Canvas.after(config, [5, 9, 2, 17], 8, torch.device("cpu"))
        denoiser = Diffusion(config, canvas, cache, options)
        while not denoiser.done:
            denoiser.absorb(run(model, denoiser.plan()))
        # A light canvas must not leave its own keys behind as the prompt's.
        assert cache.ids == [5, 9, 2, 17][: 4 if layers is None else 3]
        return denoiser.final()

    assert reply((0, 1)) == reply(None)
    assert reply((1,)) != reply(None)
