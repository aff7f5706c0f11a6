"""The engine over pages and rounds, on a CPU through the references."""

import logging
from dataclasses import replace

import pytest
import torch
from support.tiny import tiny_config, tiny_model, tiny_tokenizer

from dllm_core import DecodeOptions, OptionError, PromptTooLongError
from dllm_core.engine import Engine
from dllm_core.errors import PagesFullError
from dllm_core.gpu.device import objection
from dllm_core.model.paged_cache import PagedCache
from dllm_core.model.transformer import Transformer

pytestmark = pytest.mark.kernels

BIDIRECTIONAL = {"attention": "bidirectional", "shift": False}
DREAM = {"attention": "bidirectional", "qkv_bias": True}
SDAR = {"block_length": 4, "shift": False, "qk_norm": True}
FAST_DLLM = {"block_length": 8, "qkv_bias": True}
ADAPTED: dict[str, object] = {}
FAMILIES = {
    "bidirectional": BIDIRECTIONAL,
    "dream": DREAM,
    "sdar": SDAR,
    "fast_dllm": FAST_DLLM,
    "adapted": ADAPTED,
}
MODELS = {
    name: tiny_model(tiny_config(mask_id=60, context_length=256, **changes), seed=3)
    for name, changes in FAMILIES.items()
}
TURNS = [[5, 9, 2, 7, 33], [5, 9, 2, 8, 1, 1, 4, 20], [5] * 70, [5] * 70 + [1, 2, 3]]


def engine_of(model: Transformer, pages: int | None = 40) -> Engine:
    engine = Engine(model, tiny_tokenizer(), 256)
    if pages is not None:
        engine.use_pages(pages)
    return engine


def options(model: Transformer, **changes: object) -> DecodeOptions:
    policy = "prompt_frozen" if model.config.attention == "bidirectional" else "auto"
    values: dict[str, object] = {
        "rule": "quota",
        "steps": 6,
        "canvas_length": 12,
        "max_tokens": 30,
        "cache": policy,
    }
    return DecodeOptions(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"rule": "threshold", "threshold": 0.4}, {"first_canvas": 5}, {"eos_last": False}],
)
def test_replies_of_several_canvases_and_turns_are_those_of_the_host(
    name: str, changes: dict[str, object]
) -> None:
    model = MODELS[name]
    chosen, host, device = options(model, **changes), engine_of(model, None), engine_of(model)
    caches = host.new_cache(), device.new_cache()
    for prompt in TURNS:
        expected, reply = (
            engine.reply(prompt, cache, chosen)
            for engine, cache in zip((host, device), caches, strict=True)
        )
        assert reply.ids == expected.ids
        assert reply.text == expected.text
        assert reply.stats.forwards == expected.stats.forwards
        assert reply.stats.tokens == expected.stats.tokens
        assert reply.stats.ended == expected.stats.ended
    assert isinstance(caches[1], PagedCache)
    assert caches[1]._contiguous is None


@pytest.mark.parametrize("name", ["bidirectional", "adapted"])
def test_a_growing_prompt_is_read_word_by_word(name: str) -> None:
    model, prompt = MODELS[name], [9, 8, 7, 6, 5, 4, 3, 2, 1]
    host, device = engine_of(model, None), engine_of(model)
    caches = host.new_cache(), device.new_cache()
    for length in range(1, 9):
        for engine, cache in zip((host, device), caches, strict=True):
            stats = engine.prefill(prompt[:length], cache)
            assert (stats.cached_tokens, stats.new_tokens) == (length - 1, 1)
    chosen = options(model)
    expected, reply = (
        e.reply(prompt, c, chosen) for e, c in zip((host, device), caches, strict=True)
    )
    assert reply.ids == expected.ids


def test_every_step_can_be_told_and_a_round_is_told_once_otherwise() -> None:
    model = MODELS["adapted"]
    host, device = engine_of(model, None), engine_of(model)
    chosen = options(model, steps=6, eos_last=False)
    told = list(host.iterate(TURNS[0], host.new_cache(), chosen))
    every = list(device.iterate(TURNS[0], device.new_cache(), replace(chosen, every_step=True)))
    assert [(s.step, s.canvas.ids, s.canvas.masked, s.text) for s in every] == [
        (s.step, s.canvas.ids, s.canvas.masked, s.text) for s in told
    ]
    rounds = list(device.iterate(TURNS[0], device.new_cache(), chosen))
    assert len(rounds) < len(every)
    assert "".join(s.text for s in rounds) == "".join(s.text for s in every)
    assert rounds[-1].stats is not None
    assert rounds[-1].step == every[-1].step


def test_replies_under_way_share_rounds_and_do_not_influence_each_other() -> None:
    model = MODELS["bidirectional"]
    device, chosen = engine_of(model, 60), options(model)
    alone = [engine_of(model).reply(prompt, options=chosen).ids for prompt in TURNS]
    begun = [device.iterate(prompt, device.new_cache(), chosen) for prompt in TURNS]
    assert device.gpu is not None
    sizes: list[int] = []
    round_of = device.gpu.batch._round
    device.gpu.batch._round = lambda tickets: sizes.append(len(tickets)) or round_of(tickets)  # type: ignore[method-assign]
    last = [list(steps)[-1].canvas.ids for steps in begun]
    assert last == alone
    assert max(sizes) == len(TURNS)


def test_a_deadline_lowers_the_steps() -> None:
    device = engine_of(MODELS["bidirectional"])
    chosen = options(device.model, deadline_ms=1e-3, canvas_length=12, max_tokens=12)
    assert device.gpu is not None
    device.gpu.batch.cost.fixed = 1e3
    assert device.reply(TURNS[0], options=chosen).stats.forwards == 1
    relaxed = replace(chosen, deadline_ms=1e7)
    assert device.reply(TURNS[0], options=relaxed).stats.forwards > 4


def test_a_common_beginning_is_read_once_and_changes_no_reply() -> None:
    model, beginning = MODELS["adapted"], [3, 1, 4] * 30
    prompt, chosen = [*beginning, 5, 9, 2], options(MODELS["adapted"])
    device = engine_of(model)
    expected = device.reply(prompt, options=chosen).ids
    device.share(beginning)
    first, second = device.new_cache(), device.new_cache()
    assert device.prefill(prompt, first).cached_tokens == len(beginning)
    assert device.reply(prompt, first, chosen).ids == expected
    assert device.reply(prompt, second, chosen).ids == expected
    assert isinstance(first, PagedCache)
    assert isinstance(second, PagedCache)
    assert first.pages[0] == second.pages[0]


def test_a_call_without_room_is_refused_before_it_begins() -> None:
    device = engine_of(MODELS["adapted"], pages=9)
    caches = [device.new_cache() for _ in range(2)]
    with pytest.raises(PagesFullError, match="of 8 pages 0 are left"):
        device.new_cache()
    for cache in caches:
        device.reply([7] * 200, cache, options(device.model))
    caches.pop().close()
    device.new_cache()


def test_a_closed_reply_leaves_the_batch_and_the_cache_valid() -> None:
    device, chosen = engine_of(MODELS["sdar"]), options(MODELS["sdar"])
    cache = device.new_cache()
    steps = device.iterate(TURNS[1], cache, chosen)
    next(steps)
    steps.close()
    assert list(steps) == []
    assert device.gpu is not None
    assert device.gpu.batch.idle
    assert device.reply(TURNS[1], cache, chosen).ids == device.reply(TURNS[1], options=chosen).ids


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rule": "factor"}, "the rule factor"),
        ({"temperature": 0.5}, "temperature=0.5"),
        ({"cache": "none"}, "computes the prompt again"),
        ({"block_length": 4}, "one block"),
    ],
)
def test_what_is_made_for_the_host_runs_there_and_is_told_once(
    changes: dict[str, object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = MODELS["bidirectional"]
    chosen, device = options(model, **changes), engine_of(model)
    found = objection(model.config, chosen)
    assert found is not None
    assert why in found
    with caplog.at_level(logging.WARNING):
        replies = [device.reply(TURNS[0], options=chosen).ids for _ in range(2)]
    assert replies[0] == engine_of(model, None).reply(TURNS[0], options=chosen).ids
    assert [record.message for record in caplog.records] == [
        f"Replies run step by step without CUDA graphs: {found}."
    ]


def test_bad_requests_are_refused_at_the_edge() -> None:
    device = engine_of(MODELS["adapted"])
    with pytest.raises(OptionError, match="empty"):
        device.iterate([], device.new_cache(), options(device.model))
    with pytest.raises(PromptTooLongError, match="shorten the history"):
        device.iterate([1] * 250, device.new_cache(), options(device.model))


def test_warming_up_without_cuda_says_so_and_measures() -> None:
    device = engine_of(MODELS["adapted"])
    assert device.gpu is not None
    report = device.gpu.warm_up(options(device.model), batches=(1, 2), contexts=(128,))
    assert report[-1].startswith("Replies run without CUDA graphs")
    assert device.gpu.batch.cost.predict(12, 128) > 0
    assert device.reply(TURNS[0], options=options(device.model)).stats.tokens > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", MODELS)
def test_captured_rounds_reply_as_the_host_does(name: str) -> None:
    config = tiny_config(mask_id=60, context_length=256, head_dim=16, **FAMILIES[name])
    model = tiny_model(config, seed=3)
    expected = [engine_of(model, None).reply(turn, options=options(model)).ids for turn in TURNS]
    device = engine_of(model.cuda())
    assert device.gpu is not None
    device.gpu.warm_up(options(model), batches=(1, 4), contexts=(128,))
    assert device.gpu.graphs.reason is None
    assert [device.reply(turn, options=options(model)).ids for turn in TURNS] == expected
    begun = [device.iterate(turn, device.new_cache(), options(model)) for turn in TURNS]
    assert [list(steps)[-1].canvas.ids for steps in begun] == expected


def test_no_reply_leaves_a_page_behind() -> None:
    device = engine_of(MODELS["dream"])
    assert device.gpu is not None
    for prompt in TURNS:
        device.reply(prompt, options=options(device.model))
    assert device.gpu.pool.book.free == 39
