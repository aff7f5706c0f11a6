"""Replies that are submitted to the engine share the host's steps."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from time import monotonic

import pytest
import torch
from support.tiny import tiny_config, tiny_model, tiny_tokenizer

from dllm_core import DecodeOptions, DenoiseStep, Engine, OptionError, QueueFullError
from dllm_core.config import CachePolicy, Rule
from dllm_core.decode.reply_state import ReplyState
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Transformer

CAUSAL = tiny_model(tiny_config(context_length=128), seed=3)
LLADA = tiny_model(
    tiny_config(attention="bidirectional", shift=False, mask_id=60, context_length=128), seed=3
)
DREAM = tiny_model(
    tiny_config(attention="bidirectional", qkv_bias=True, mask_id=60, context_length=128), seed=3
)
BLOCKS = tiny_model(
    tiny_config(block_length=4, shift=False, mask_id=60, context_length=128), seed=3
)
PROMPTS = [[5, 9, 2], [44, 17, 3, 8, 21, 30, 31], [11], [50, 50, 50, 2], [1, 2, 3, 4, 5, 6, 7]]
TOKENS = DecodeOptions(canvas_length=3, max_tokens=20)


def engine_of(model: Transformer) -> Engine:
    return Engine(model, tiny_tokenizer(), 128)


def canvases(rule: Rule = "quota", length: int = 8, cache: CachePolicy = "auto") -> DecodeOptions:
    return DecodeOptions(
        rule=rule, canvas_length=length, steps=4, max_tokens=20, threshold=0.3, cache=cache
    )


def told(steps: Iterator[DenoiseStep]) -> list[tuple[object, ...]]:
    """Everything about the steps but their times."""
    return [(s.step, s.canvas.ids, s.canvas.masked, s.tokens, s.text) for s in steps]


def interleaved(replies: list[Iterator[DenoiseStep]]) -> list[list[DenoiseStep]]:
    """A step of each in turn, until all have ended."""
    found: list[list[DenoiseStep]] = [[] for _ in replies]
    running = list(range(len(replies)))
    while running:
        for i in list(running):
            step = next(replies[i], None)
            if step is None:
                running.remove(i)
            else:
                found[i].append(step)
    return found


class Passes:
    """Counts the rows of every forward pass of an engine."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        forward = engine.model.forward

        def counted(ids: torch.Tensor, *others: object) -> object:
            self.rows.append(len(ids))
            return forward(ids, *others)  # type: ignore[arg-type]

        monkeypatch.setattr(engine.model, "forward", counted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options"),
    [
        (CAUSAL, TOKENS),
        (LLADA, canvases()),
        (LLADA, canvases("remask", cache="prompt_frozen")),
        (DREAM, canvases("entropy_bound")),
        (DREAM, canvases("factor", cache="dual")),
        (BLOCKS, canvases("dynamic")),
        (BLOCKS, canvases("threshold")),
    ],
)
def test_steps_together_are_those_alone(model: Transformer, options: DecodeOptions) -> None:
    engine = engine_of(model)
    alone = [told(engine.submit(prompt, engine.new_cache(), options)) for prompt in PROMPTS]
    together = [engine.submit(prompt, engine.new_cache(), options) for prompt in PROMPTS]
    assert [told(iter(steps)) for steps in interleaved(list(together))] == alone
    assert engine.host.batch.idle


def test_a_step_of_one_reply_is_a_step_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(CAUSAL)
    first, second = (engine.submit(p, engine.new_cache(), TOKENS) for p in PROMPTS[:2])
    passes = Passes(engine, monkeypatch)
    next(first)
    assert passes.rows == [6]
    next(second)  # was carried along: nothing is computed
    assert passes.rows == [6]


@pytest.mark.slow
def test_replies_of_different_options_share_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(LLADA)
    kinds = [canvases("quota", 8), canvases("threshold", 5), canvases("remask", 6)]
    alone = [engine.reply(PROMPTS[0], options=options).ids for options in kinds]
    replies = [engine.submit(PROMPTS[0], engine.new_cache(), options) for options in kinds]
    passes = Passes(engine, monkeypatch)
    next(replies[0])
    assert passes.rows == [3 * 3 + 8 + 5 + 6]
    assert [list(steps)[-1].canvas.ids for steps in replies] == alone


def test_the_earliest_due_rides_along_when_rows_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, options = engine_of(LLADA), canvases(length=12)  # with a prompt of 3, 15 rows each
    replies = [
        engine.submit(PROMPTS[0], engine.new_cache(), options, due=due) for due in (3.0, 2.0, 1.0)
    ]
    passes = Passes(engine, monkeypatch)
    next(replies[0])
    next(replies[2])
    assert passes.rows == [30]
    next(replies[1])
    assert passes.rows == [30, 30]


def test_a_reply_without_due_time_is_due_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, options = engine_of(LLADA), canvases(length=12)
    timed = replace(options, deadline_ms=1e6)
    relaxed, first, hurried = (
        engine.submit(PROMPTS[0], engine.new_cache(), chosen, due=due)
        for chosen, due in ((timed, None), (options, None), (options, monotonic() + 100))
    )
    passes = Passes(engine, monkeypatch)
    next(first)
    next(hurried)
    assert passes.rows == [30]
    next(relaxed)
    assert passes.rows == [30, 30]


def test_a_reply_that_fails_raises_from_its_own_iterator_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = engine_of(CAUSAL)
    expected = engine.reply(PROMPTS[0], options=TOKENS).ids
    kept, broken = (engine.submit(p, engine.new_cache(), TOKENS) for p in PROMPTS[:2])
    absorb, failing = ReplyState.absorb, broken._state  # type: ignore[attr-defined]

    def absorbed(state: ReplyState, logits: torch.Tensor) -> None:
        if state is failing:
            raise ValueError("out of order")
        absorb(state, logits)

    monkeypatch.setattr(ReplyState, "absorb", absorbed)
    assert list(kept)[-1].canvas.ids == expected
    with pytest.raises(ValueError, match="out of order"):
        next(broken)
    assert engine.host.batch.idle


def test_a_reply_that_is_closed_or_forgotten_leaves_the_batch() -> None:
    engine = engine_of(CAUSAL)
    closed, forgotten = (engine.submit(p, engine.new_cache(), TOKENS) for p in PROMPTS[:2])
    next(closed)
    closed.close()
    assert list(closed) == []
    assert not engine.host.batch.idle
    del forgotten
    assert engine.host.batch.idle


def test_a_closed_reply_leaves_its_cache_valid() -> None:
    engine = engine_of(CAUSAL)
    expected, cache = engine.reply(PROMPTS[1], options=TOKENS).ids, engine.new_cache()
    with closing(engine.submit(PROMPTS[1], cache, TOKENS)) as steps:
        next(steps)
    assert engine.reply(PROMPTS[1], cache, TOKENS).ids == expected


def test_requests_are_checked_and_bounded() -> None:
    engine = engine_of(CAUSAL)
    with pytest.raises(OptionError, match="empty"):
        engine.submit([], engine.new_cache())
    waiting = [engine.submit([5], engine.new_cache(), TOKENS) for _ in range(64)]
    with pytest.raises(QueueFullError, match="64 requests"):
        engine.submit([5], engine.new_cache(), TOKENS)
    next(waiting[0])  # 32 are under way now, so there is room in the queue
    engine.submit([5], engine.new_cache(), TOKENS).close()


@pytest.mark.slow
def test_replies_may_be_advanced_from_several_threads() -> None:
    engine = engine_of(CAUSAL)
    alone = [engine.reply(prompt, options=TOKENS).ids for prompt in PROMPTS]

    def reply(prompt: list[int]) -> tuple[int, ...]:
        return engine.reply(prompt, options=TOKENS).ids

    with ThreadPoolExecutor(len(PROMPTS)) as threads:
        assert list(threads.map(reply, PROMPTS)) == alone


@pytest.mark.slow
def test_rules_that_pages_do_not_serve_share_the_hosts_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, options = engine_of(DREAM), canvases("factor", cache="prompt_frozen")
    expected = [engine.reply(prompt, options=options).ids for prompt in PROMPTS[:2]]
    engine.use_pages(40)
    replies = [engine.submit(p, engine.new_cache(), options) for p in PROMPTS[:2]]
    passes = Passes(engine, monkeypatch)
    next(replies[0])
    assert len(passes.rows) == 1
    assert [list(steps)[-1].canvas.ids for steps in replies] == expected


def test_a_cache_outside_the_pages_is_served_by_the_host() -> None:
    engine, options = engine_of(DREAM), canvases(cache="prompt_frozen")
    expected = engine.reply(PROMPTS[1], options=options).ids
    engine.use_pages(40)
    cache = engine.contiguous_cache()
    assert isinstance(cache, PromptCache)
    assert engine.reply(PROMPTS[1], cache, options).ids == expected


def test_pages_share_a_common_prefix_once() -> None:
    engine = engine_of(tiny_model(tiny_config(mask_id=60, context_length=128)))
    assert not engine.can_share
    engine.share([5, 9, 2])
    engine.use_pages(40)
    assert engine.can_share
    engine.share([5, 9, 2])
    assert not engine.can_share


def test_a_bidirectional_model_shares_no_prefix() -> None:
    engine = engine_of(DREAM)
    engine.use_pages(40)
    assert not engine.can_share
    engine.share([5, 9, 2])
    assert engine.new_cache().ids == []


@pytest.mark.slow
def test_on_pages_the_earliest_due_takes_the_free_place() -> None:
    engine, options = engine_of(DREAM), canvases(cache="prompt_frozen")
    engine.use_pages(40, sequences=1)
    gpu = engine.gpu
    assert gpu is not None
    replies = [
        engine.submit(PROMPTS[0], engine.new_cache(), options, due=due) for due in (3.0, 1.0, 2.0)
    ]
    order = []
    while not gpu.batch.idle:
        order += [round(ticket.due) for ticket in gpu.batch.step()]
    assert order == [1, 2, 3]
    assert all(list(steps)[-1].stats is not None for steps in replies)
