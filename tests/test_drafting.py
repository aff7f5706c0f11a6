"""The rule `draft`: replies are those of the model, token by token, whatever is drafted."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from prometheus_client import REGISTRY
from support.drafters import SHAPE, Oracle, base_config, drawn_network, engine_of, save_drafter
from test_packed_transformer import packed_model

from agent.responders import draft_metrics
from dllm_core.config import DecodeOptions
from dllm_core.decode.batch import Batch
from dllm_core.decode.denoise import run
from dllm_core.decode.draft_economy import TYPICAL, DraftCosts
from dllm_core.decode.drafting import Drafting
from dllm_core.decode.stats import Reply
from dllm_core.draft import files
from dllm_core.draft.calibration import Calibration
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.model.quantize import Int4Linear, Int8Linear

DRAFT = DecodeOptions(rule="draft", max_tokens=24)
ALONE = replace(DRAFT, draft_echo=False)
"""The drafter's candidates alone."""
PLAIN = DecodeOptions(rule="fixed_point", max_tokens=24)
CHEAP = DraftCosts(tuple(1 + 0.01 * more for more in range(8)), 0.01)
PROMPTS = [[5, 9, 2], [44, 17, 3, 8, 21, 30, 31], [11], [50, 50, 50, 2], list(range(1, 40))]


def engine(tmp_path: Path, kind: Any = Int8Linear, **changes: object) -> Engine:
    model = packed_model(base_config(**changes), kind, SHAPE["context_length"])
    found = engine_of(model)
    found.use_drafter(save_drafter(model, tmp_path / "drafter"))
    found.host.draft_costs = CHEAP
    return found


def reply(engine: Engine, ids: Sequence[int], options: DecodeOptions) -> Reply:
    return engine.reply(list(ids), options=options)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
@pytest.mark.parametrize("rows", [1, 2, 5, 8, 32])
def test_words_are_those_of_the_model_with_drafts_that_are_mostly_wrong(
    tmp_path: Path, kind: Any, rows: int
) -> None:
    drafting = engine(tmp_path, kind)
    options = DecodeOptions(rule="draft", max_tokens=24, draft_rows=rows)
    for prompt in PROMPTS:
        mine, plain = reply(drafting, prompt, options), reply(drafting, prompt, PLAIN)
        assert mine.ids == plain.ids
        assert mine.text == plain.text
        assert mine.stats.ended == plain.stats.ended


def oracle_run(
    engine: Engine, prompt: list[int], options: DecodeOptions, truth: list[int], **how: Any
) -> tuple[Drafting, int]:
    """A reply whose drafts come from an oracle; the denoiser, and the passes that it took."""
    cache = engine.contiguous_cache()
    engine.prefill(prompt[:-1], cache)
    oracle = Oracle(truth, **how)
    found = Drafting(
        engine.config, cache, prompt[-1], options, options.max_tokens, costs=CHEAP,
        drafter=engine.drafter,
    )  # fmt: skip
    passes = 0
    with torch.inference_mode():
        while not found.done:
            assert engine.drafter is not None
            if found.ask() is not None:
                found.propose(oracle.after_position(len(found.final())))  # type: ignore[arg-type]
            found.absorb(run(engine.model, found.plan()))
            passes += 1
    return found, passes


@pytest.mark.slow
@pytest.mark.parametrize("rows", [2, 4, 8, 13, 32])
def test_right_drafts_spare_passes_and_change_no_word(tmp_path: Path, rows: int) -> None:
    drafting = engine(tmp_path, eos_ids=())
    options = DecodeOptions(rule="draft", max_tokens=24, draft_rows=rows)
    for prompt in PROMPTS:
        plain = reply(drafting, prompt, PLAIN)
        found, passes = oracle_run(drafting, prompt, options, list(plain.ids))
        assert tuple(found.final()) == plain.ids
        assert passes <= 24 / min(rows, 2) + 1
        stats = found.stats()
        assert stats.rounds == passes
        assert stats.accepted == 24 - passes
        assert sum(stats.right) == stats.accepted


def test_a_branch_that_is_taken_leaves_the_cache_of_single_steps(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    prompt = PROMPTS[1]
    plain = list(reply(drafting, prompt, PLAIN).ids)
    # Wrong tokens come first on every level, so that the right ones lie on side branches.
    found, _ = oracle_run(drafting, prompt, DRAFT, plain, chance=0.05)
    assert found.final() == plain
    cache, alone = found._cache, drafting.contiguous_cache()
    drafting.prefill(cache.ids, alone)
    stop = len(cache)
    for mine, other in zip(cache.store.layers, alone.store.layers, strict=True):
        for a, b in zip(mine, other, strict=True):
            assert torch.equal(a[:, :stop], b[:, :stop])
    assert cache.drafts is not None
    assert alone.drafts is not None
    assert len(cache.drafts) == stop
    assert drafting.drafter is not None
    drafting.drafter.draft([(cache.drafts, 1)])  # type: ignore[list-item]
    for mine, other in zip(cache.drafts.store.layers, alone.drafts.store.layers, strict=True):  # type: ignore[attr-defined]
        for a, b in zip(mine, other, strict=True):
            assert torch.equal(a[:, :stop], b[:, :stop])


def test_the_end_of_a_reply_inside_a_draft_ends_it(tmp_path: Path) -> None:
    free = engine(tmp_path / "free", eos_ids=())
    long = list(reply(free, PROMPTS[1], PLAIN).ids)
    end = long[7]
    ending = engine(tmp_path / "ending", eos_ids=(end,))
    plain = reply(ending, PROMPTS[1], PLAIN)
    found, _ = oracle_run(ending, PROMPTS[1], DRAFT, long)
    assert found.final() == [*plain.ids, end]


@pytest.mark.slow
def test_a_drawn_reply_has_the_distribution_of_drawing_token_by_token(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    prompt, draws = PROMPTS[1], 500

    def counted(rows: int) -> Counter[tuple[int, ...]]:
        found: Counter[tuple[int, ...]] = Counter()
        for seed in range(draws):
            options = DecodeOptions(
                rule="draft", max_tokens=2, temperature=0.35, seed=seed + rows * draws,
                draft_rows=rows,
            )  # fmt: skip
            found[drafting.reply(prompt, options=options).ids[:2]] += 1
        return found

    alone, together = counted(1), counted(8)
    # Two samples of one distribution: chi-squared over outcomes that are not rare.
    frequent = [key for key, n in (alone + together).items() if n >= 10]
    statistic = sum((alone[k] - together[k]) ** 2 / (alone[k] + together[k]) for k in frequent)
    freedom = len(frequent)
    assert freedom >= 5
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.slow
def test_a_drawn_reply_is_the_same_for_the_same_seed_with_and_without_drafts(
    tmp_path: Path,
) -> None:
    drafting = engine(tmp_path, eos_ids=())
    for seed in range(5):
        given: dict[str, Any] = {
            "rule": "draft", "max_tokens": 20, "temperature": 0.7, "top_p": 0.9, "seed": seed,
        }  # fmt: skip
        alone = drafting.reply(PROMPTS[0], options=DecodeOptions(**given, draft_rows=1))
        assert drafting.reply(PROMPTS[0], options=DecodeOptions(**given)).ids == alone.ids


@pytest.mark.slow
def test_drafts_that_are_no_numbers_cost_rounds_and_no_word(tmp_path: Path) -> None:
    model = packed_model(base_config(), Int8Linear, SHAPE["context_length"])
    network = drawn_network(model)
    network.norm.fill_(float("nan"))
    files.save(network, Calibration.none(4), tmp_path / "nan", {})
    broken = engine_of(model)
    broken.use_drafter(tmp_path / "nan")
    broken.host.draft_costs = CHEAP
    for prompt in PROMPTS:
        mine = reply(broken, prompt, DRAFT)
        assert mine.ids == reply(broken, prompt, PLAIN).ids
        alone = reply(broken, prompt, ALONE)
        assert alone.ids == mine.ids
        assert alone.stats.forwards == alone.stats.tokens


def test_features_that_are_no_numbers_cost_rounds_and_no_word(tmp_path: Path) -> None:
    model = packed_model(base_config(), Int8Linear, SHAPE["context_length"])
    network = drawn_network(model)
    network.mean.fill_(float("nan"))
    files.save(network, Calibration.none(4), tmp_path / "nan", {})
    broken = engine_of(model)
    broken.use_drafter(tmp_path / "nan")
    broken.host.draft_costs = CHEAP
    assert reply(broken, PROMPTS[1], DRAFT).ids == reply(broken, PROMPTS[1], PLAIN).ids


@pytest.mark.slow
def test_replies_that_share_passes_are_those_of_single_ones(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    alone = [reply(drafting, prompt, DRAFT).ids for prompt in PROMPTS]
    batch = Batch(drafting.model, size=32, rows=32)
    answers = [drafting.begin(prompt, drafting.new_cache(), DRAFT) for prompt in PROMPTS]
    for answer in answers:
        batch.submit(answer)
    with torch.inference_mode():
        while not batch.idle:
            batch.step()
    assert [tuple(answer.final()) for answer in answers] == alone


def test_a_context_that_was_read_without_the_drafter_is_read_again(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    drafter, drafting.host.drafter = drafting.drafter, None
    cache = drafting.contiguous_cache()
    drafting.prefill(PROMPTS[1], cache)
    assert cache.drafts is None
    drafting.host.drafter = drafter
    assert drafting.prefill([*PROMPTS[1], 7], cache).new_tokens == len(PROMPTS[1]) + 1
    assert cache.drafts is not None
    assert len(cache.drafts) == len(cache)
    assert drafting.prefill([*PROMPTS[1], 9], cache).new_tokens == 1
    assert len(cache.drafts) == len(cache)


def test_the_context_of_drafts_is_cut_with_the_prompt_and_counted(tmp_path: Path) -> None:
    drafting = engine(tmp_path)
    cache = drafting.contiguous_cache()
    bare = cache.nbytes
    drafting.prefill(PROMPTS[4], cache)
    assert cache.drafts is not None
    assert cache.nbytes == bare + cache.drafts.nbytes
    cache.crop(5)
    assert len(cache.drafts) == 5


def test_without_a_drafter_the_rule_goes_token_by_token_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bare = engine_of(packed_model(base_config(), Int8Linear, SHAPE["context_length"]))
    first = reply(bare, PROMPTS[1], DRAFT)
    assert first.ids == reply(bare, PROMPTS[1], PLAIN).ids
    assert first.stats.forwards == first.stats.tokens
    reply(bare, PROMPTS[0], DRAFT)
    told = [record for record in caplog.records if "drafter" in record.message]
    assert len(told) == 1


def test_the_rule_is_for_models_that_write_from_left_to_right() -> None:
    model = packed_model(
        base_config(attention="bidirectional", mask_id=5), Int8Linear, SHAPE["context_length"]
    )
    with pytest.raises(OptionError, match="causal"):
        engine_of(model).reply([1, 2], options=DRAFT)


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_bounded_rounds_add_confident_drafts_unverified(tmp_path: Path, rounds: int) -> None:
    drafting = engine(tmp_path, eos_ids=())
    prompt = PROMPTS[1]
    plain = list(reply(drafting, prompt, PLAIN).ids)
    options = DecodeOptions(rule="draft", max_tokens=24, rounds=rounds)
    cache = drafting.contiguous_cache()
    drafting.prefill(prompt[:-1], cache)
    found = Drafting(
        drafting.config, cache, prompt[-1], options, 24, costs=CHEAP, drafter=drafting.drafter
    )
    oracle = Oracle(plain, chance=0.95)
    with torch.inference_mode():
        while not found.done:
            if found.ask() is not None:
                found.propose(oracle.after_position(len(found.final())))  # type: ignore[arg-type]
            found.absorb(run(drafting.model, found.plan()))
    stats = found.stats()
    assert stats.rounds <= rounds
    verified = len(found.final()) - stats.unverified
    assert found.final()[:verified] == plain[:verified]
    assert found.view().masked[-1] or len(found.final()) == 24


def test_a_reply_with_bounded_rounds_tells_how_much_was_not_verified(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    options = DecodeOptions(rule="draft", max_tokens=24, rounds=3)
    found = drafting.reply(PROMPTS[1], options=options)
    assert found.stats.forwards == 3
    assert found.stats.drafts is not None
    assert found.stats.tokens >= 3 - 1
    assert found.stats.drafts.rounds == 3


def test_steps_tell_what_became_of_their_drafts(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    steps = list(drafting.iterate(PROMPTS[1], drafting.new_cache(), DRAFT))
    rounds = [step.round for step in steps if step.round is not None]
    assert len(rounds) == len(steps)
    stats = steps[-1].stats
    assert stats is not None
    assert stats.drafts is not None
    assert sum(r.drafted for r in rounds) == stats.drafts.drafted
    assert stats.tokens == len(steps) + sum(r.accepted for r in rounds)


@pytest.mark.slow
def test_a_shared_prefix_is_read_once_with_its_context_of_drafts(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    first = [9, 8, 7, 6, 5, 4]
    expected = reply(drafting, [*first, 3, 2], DRAFT)
    assert drafting.can_share
    drafting.share(first)
    assert not drafting.can_share
    one, two = drafting.new_cache(), drafting.new_cache()
    assert drafting.prefill([*first, 3], one).new_tokens == 1
    assert drafting.reply([*first, 3, 2], one, DRAFT).ids == expected.ids
    assert drafting.reply([*first, 3, 2], one, DRAFT).stats.drafts is not None
    # What one sequence does to its copy concerns no other.
    one.contiguous.crop(2)
    assert drafting.prefill([*first, 3], two).new_tokens == 1
    assert drafting.reply([*first, 3, 2], two, DRAFT).ids == expected.ids
    assert drafting.reply([*first, 3, 2], two, DRAFT).stats.forwards == expected.stats.forwards


def test_without_a_drafter_every_sequence_reads_its_prompt_for_itself() -> None:
    bare = engine_of(packed_model(base_config(), Int8Linear, SHAPE["context_length"]))
    assert not bare.can_share
    bare.share([9, 8, 7])
    assert bare.prefill([9, 8, 7, 6], bare.new_cache()).new_tokens == 4


def test_a_reply_may_fill_the_context_to_its_last_place(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    context = drafting.context
    prompt = [1 + i % 50 for i in range(context - 21)]
    options = DecodeOptions(rule="draft", max_tokens=20, draft_rows=32)
    plain = drafting.reply(prompt, options=DecodeOptions(rule="fixed_point", max_tokens=20))
    assert drafting.reply(prompt, options=options).ids == plain.ids
    found, _ = oracle_run(drafting, prompt, options, list(plain.ids), chance=0.4)
    assert tuple(found.final()) == plain.ids


def test_metrics_count_what_became_of_drafts(tmp_path: Path) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"onebreath_draft_{name}_total", labels) or 0.0

    drafting = engine(tmp_path, eos_ids=())
    first = {"depth": "1", "outcome": "tried"}
    before = value("passes"), value("tokens", kind="said"), value("depth", **first)
    stats = reply(drafting, PROMPTS[1], DRAFT).stats
    draft_metrics.count(stats)
    assert stats.drafts is not None
    assert value("passes") - before[0] == stats.forwards
    assert value("tokens", kind="said") - before[1] == stats.tokens
    assert value("depth", **first) - before[2] == stats.drafts.tried[0]
    draft_metrics.count(reply(drafting, PROMPTS[1], PLAIN).stats)
    assert value("passes") - before[0] == stats.forwards


def test_what_stood_before_is_proposed_again_without_asking_the_drafter(tmp_path: Path) -> None:
    drafting = engine(tmp_path, eos_ids=())
    first = reply(drafting, PROMPTS[1], PLAIN)
    # The prompt holds the reply that is to come, as a caller's words or an earlier reply may.
    prompt = [*PROMPTS[1], *first.ids, *PROMPTS[1]]
    plain = reply(drafting, prompt, PLAIN)
    with_echo, without = reply(drafting, prompt, DRAFT), reply(drafting, prompt, ALONE)
    assert with_echo.ids == without.ids == plain.ids
    found, passes = oracle_run(drafting, prompt, DRAFT, list(plain.ids), chance=0.0)
    assert tuple(found.final()) == plain.ids
    assert passes <= without.stats.forwards


@pytest.mark.slow
def test_the_cost_of_drafts_may_be_measured_after_the_first_replies(tmp_path: Path) -> None:
    drafting = engine(tmp_path)
    drafting.host.draft_costs = TYPICAL
    drafting.warm_up_kernels(DRAFT)
    assert drafting.host.draft_costs is TYPICAL
    before = [reply(drafting, prompt, DRAFT).ids for prompt in PROMPTS]
    assert sum(1 for _ in drafting.measure_drafts(DRAFT)) > 10  # in pieces
    assert drafting.host.draft_costs is not TYPICAL
    assert [reply(drafting, prompt, DRAFT).ids for prompt in PROMPTS] == before
    assert list(drafting.measure_drafts(PLAIN)) == []
