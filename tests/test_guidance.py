"""Guidance: the second sequence is computed, never read from memory that nobody wrote."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.plain_reference import llada
from support.tiny import tiny_cache, tiny_config, tiny_engine, tiny_model, tiny_tokenizer
from test_reference_algorithms import BIDIRECTIONAL, pair

from dllm_core.config import DecodeOptions
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.model.cache import KeyValues
from dllm_core.model.transformer import Span

pytestmark = pytest.mark.crossed

MASK, CPU = 60, torch.device("cpu")
RULES = ["sequential", "quota", "threshold", "factor", "entropy_bound", "dynamic", "remask"]
SHAPES: dict[str, dict[str, Any]] = {
    "blocks": {"block_length": 4, "shift": False},
    "shifted blocks": {"block_length": 4},
    "led blocks": {"block_length": 8, "sub_block_length": 4, "leads_blocks": True},
    "adapted": {},
    "bidirectional": {"attention": "bidirectional", "shift": False},
    "bidirectional, shifted": {"attention": "bidirectional"},
}


@pytest.fixture(params=[float("nan"), 1e4, -3.0])
def poison(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Fresh keys and values hold this number instead of whatever the memory held."""
    allocate = KeyValues._allocate

    def poisoned(self: KeyValues, capacity: int) -> None:
        allocate(self, capacity)
        self._store.fill_(request.param)

    monkeypatch.setattr(KeyValues, "_allocate", poisoned)
    return float(request.param)


def options(rule: Any, cache: Any, **changes: Any) -> DecodeOptions:
    values: dict[str, Any] = {
        "rule": rule, "cache": cache, "guidance": 1.3, "max_tokens": 11, "canvas_length": 6,
        "steps": 4, "eos_last": False, "threshold": 0.3,
    }  # fmt: skip
    return DecodeOptions(**(values | changes))


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("shape", ["blocks", "shifted blocks", "led blocks", "adapted"])
@pytest.mark.parametrize("rule", RULES)
def test_the_exact_cache_gives_the_words_of_none(shape: str, rule: str) -> None:
    engine = tiny_engine(tiny_config(mask_id=MASK, eos_ids=(), **SHAPES[shape]))
    for prompt in ([5], list(range(1, 9)), list(range(3, 16))):
        plain = engine.reply(prompt, options=options(rule, "none"))
        assert engine.reply(prompt, options=options(rule, "exact")).ids == plain.ids


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("shape", ["bidirectional", "bidirectional, shifted"])
@pytest.mark.parametrize("cache", ["none", "prefix", "dual", "prompt_frozen"])
@pytest.mark.parametrize("rule", RULES)
def test_no_reply_depends_on_fresh_memory(shape: str, cache: str, rule: str) -> None:
    engine = tiny_engine(tiny_config(mask_id=MASK, eos_ids=(), **SHAPES[shape]))
    clean = tiny_engine(tiny_config(mask_id=MASK, eos_ids=(), **SHAPES[shape]))
    prompt, chosen = list(range(1, 14)), options(rule, cache)
    used = clean.new_cache()
    for warm in ([7] * 20, [9] * 30):  # the memory of other prompts
        clean.reply(warm, used, chosen)
    assert clean.reply(prompt, used, chosen).ids == engine.reply(prompt, options=chosen).ids


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("cache", ["none", "auto"])
def test_replies_in_one_batch_are_those_alone(shape: str, cache: str) -> None:
    engine = tiny_engine(tiny_config(mask_id=MASK, eos_ids=(), **SHAPES[shape]))
    prompts = [[5], list(range(1, 9)), list(range(3, 16))]
    alone = [engine.reply(prompt, options=options("quota", cache)).ids for prompt in prompts]
    together = [
        engine.submit(prompt, engine.new_cache(), options("quota", cache)) for prompt in prompts
    ]
    found: list[tuple[int, ...]] = [()] * len(prompts)
    under_way = set(range(len(prompts)))
    while under_way:
        for i in sorted(under_way):
            step = next(together[i], None)
            if step is None:
                under_way.discard(i)
            else:
                found[i] = step.canvas.ids
    assert found == alone


@pytest.mark.parametrize("shift", [False, True])
def test_frozen_guidance_freezes_both_prompts(shift: bool) -> None:
    """The plain version: both prompts are read alone, the canvas attends to what was read."""
    config = tiny_config(mask_id=MASK, eos_ids=(), attention="bidirectional", shift=shift)
    engine, model = tiny_engine(config), tiny_model(config)
    prompt, scale, length = list(range(1, 10)), 1.3, 6
    n = len(prompt)
    stores = []
    read = n - shift
    for ids in (prompt[:read], [MASK] * read):
        cache = tiny_cache(model)
        engine.host._prefill(ids, cache)
        stores.append(cache.store)
    x = torch.tensor([*prompt, *[MASK] * length])
    bare = torch.tensor([MASK] * (n + length))
    for _ in range(length):
        bare[n:] = x[n:]
        with_prompt, without = (
            model.logits(model(ids[read:], [Span(store, read, length + shift, n + length)]))[
                :length
            ]
            for ids, store in zip((x, bare), stores, strict=True)
        )
        logits = without + (scale + 1) * (with_prompt - without)
        logits[:, MASK] = -torch.inf
        sure = logits.double().softmax(-1).amax(-1).masked_fill(x[n:] != MASK, -1)
        place = int(sure.argmax())
        x[n + place] = logits[place].argmax()
    chosen = options(
        "quota", "prompt_frozen", steps=length, max_tokens=length, canvas_length=length
    )
    assert engine.reply(prompt, options=chosen).ids == tuple(x[n:].tolist())


def test_fill_applies_guidance_as_llada_does() -> None:
    """A template of a prompt and a gap is LLaDA's generate."""
    plain, model = pair(4, BIDIRECTIONAL)
    engine = Engine(model, tiny_tokenizer(), 128)
    prompt = [3, 8, 21, 5]
    for scale in (0.0, 2.5):
        expected = llada(plain, prompt, MASK, length=8, block=8, steps=8, cfg=scale)
        chosen = DecodeOptions(rule="quota", steps=8, guidance=scale, eos_last=False)
        found = engine.fill([*prompt, *[None] * 8], chosen)
        assert list(found[4:]) == expected


def test_guidance_runs_all_layers() -> None:
    with pytest.raises(OptionError, match="leave canvas_layers out"):
        DecodeOptions(rule="quota", guidance=1.0, canvas_layers=(0,))
