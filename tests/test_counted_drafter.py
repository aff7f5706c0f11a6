"""A drafter without a network: counts draft, the model checks, and no word changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.checkpoints import write_checkpoint
from support.drafters import SHAPE, base_config, engine_of, save_drafter, table_of
from support.tiny import tiny_model
from test_packed_transformer import packed_model
from typer.testing import CliRunner

from agent.cli.main import app
from dllm_core.adapt.drafter import packing, tasks
from dllm_core.adapt.drafter.options import DraftTraining
from dllm_core.adapt.drafter.recording import PLAN, RecordPlan, make_plan
from dllm_core.adapt.drafter.shards import Corpus, shard_paths
from dllm_core.config import DecodeOptions
from dllm_core.decode.batch import Batch
from dllm_core.decode.draft_economy import DraftCosts
from dllm_core.draft import bundled, files
from dllm_core.draft.config import BaseConfig
from dllm_core.draft.counted import CountedDrafter, load_drafter
from dllm_core.draft.ngrams import LONGEST, NgramArrays
from dllm_core.engine import Engine
from dllm_core.errors import DataError, DrafterError
from dllm_core.model.quantize import Int4Linear, Int8Linear

DRAFT = DecodeOptions(rule="draft", max_tokens=24)
COUNTS = replace(DRAFT, draft_echo=False)
"""The counts alone, without what stood before."""
PLAIN = DecodeOptions(rule="fixed_point", max_tokens=24)
CHEAP = DraftCosts(tuple(1 + 0.01 * more for more in range(8)), 0.0)
PROMPTS = [[5, 9, 2], [44, 17, 3, 8, 21, 30, 31], [11], [50, 50, 50, 2], list(range(1, 40))]
SYSTEM = "Be brief."
CONTEXT = SHAPE["context_length"]


def bare_engine(kind: Any = Int8Linear, **changes: object) -> Engine:
    config = base_config(**{"eos_ids": (), **changes})
    if kind is None:
        return engine_of(tiny_model(config))
    return engine_of(packed_model(config, kind, CONTEXT))


def counted_table(engine: Engine) -> NgramArrays:
    """What the model says after these prompts, two thirds of it: the rest is said wrongly."""
    likely: dict[tuple[int, ...], list[tuple[int, float]]] = {}
    for prompt in PROMPTS:
        said = [*prompt, *engine.reply(prompt, options=PLAIN).ids]
        for place in range(len(prompt), len(said)):
            token = said[place] if place % 3 else (said[place] + 1) % 64
            likely[tuple(said[max(0, place - LONGEST) : place])] = [(token, 0.9)]
    return table_of(likely)


def save_counts(engine: Engine, place: Path) -> Path:
    files.save_counts(BaseConfig.of("tiny", engine.model), counted_table(engine), place, {})
    return place


def counting(place: Path, kind: Any = Int8Linear, **changes: object) -> Engine:
    engine = bare_engine(kind, **changes)
    engine.use_drafter(save_counts(engine, place))
    engine.host.draft_costs = CHEAP
    return engine


@pytest.mark.parametrize("kind", [None, Int8Linear, Int4Linear])
@pytest.mark.parametrize("rows", [1, 3, 8, 32])
@pytest.mark.parametrize("echo", [True, False])
def test_words_are_those_of_the_model_in_fewer_passes(
    tmp_path: Path, kind: Any, rows: int, echo: bool
) -> None:
    engine = counting(tmp_path, kind)
    assert engine.default_options.rule == "draft"
    options = replace(DRAFT, draft_rows=rows, draft_echo=echo)
    passes = tokens = 0
    for prompt in PROMPTS:
        mine = engine.reply(prompt, options=options)
        assert mine.ids == engine.reply(prompt, options=PLAIN).ids
        passes, tokens = passes + mine.stats.forwards, tokens + mine.stats.tokens
        assert mine.stats.drafts is not None
        assert mine.stats.drafts.asked == 0
    assert passes == tokens if rows == 1 else passes < 0.7 * tokens


@pytest.mark.parametrize("extra", [{}, {"top_p": 0.8}, {"top_k": 5}, {"temperature": 0.3}])
def test_drawn_tokens_are_those_without_drafts(tmp_path: Path, extra: dict[str, float]) -> None:
    engine = counting(tmp_path)
    drafted = 0
    for seed in range(6):
        options = replace(COUNTS, **{"temperature": 0.9, "seed": seed, **extra})  # type: ignore[arg-type]
        mine = engine.reply(PROMPTS[1], options=options)
        alone = engine.reply(PROMPTS[1], options=replace(options, draft_ngrams=False))
        assert mine.ids == alone.ids
        assert mine.stats.drafts is not None
        drafted += mine.stats.drafts.drafted
    assert drafted > 0


def test_replies_that_share_passes_are_those_of_single_ones(tmp_path: Path) -> None:
    engine = counting(tmp_path)
    alone = [engine.reply(prompt, options=DRAFT).ids for prompt in PROMPTS]
    batch = Batch(engine.model, size=32, rows=32)
    answers = [engine.begin(prompt, engine.new_cache(), DRAFT) for prompt in PROMPTS]
    for answer in answers:
        batch.submit(answer)
    with torch.inference_mode():
        while not batch.idle:
            batch.step()
    assert [tuple(answer.final()) for answer in answers] == alone


@pytest.mark.parametrize("options", [
    DRAFT,
    replace(DRAFT, cache="exact"),
    replace(DRAFT, deadline_ms=1e6),
    replace(DRAFT, banned=(7, 9)),
])  # fmt: skip
def test_turns_of_a_conversation_go_on_in_one_cache(tmp_path: Path, options: Any) -> None:
    engine = counting(tmp_path)
    cache, said = engine.new_cache(), list(PROMPTS[1])
    for more in ([3, 4], [20], [1, 2, 30, 9]):
        mine = engine.reply(said, cache, options)
        plain = replace(PLAIN, banned=options.banned)
        assert mine.ids == engine.reply(said, options=plain).ids
        said += [*mine.ids, *more]
    assert cache.contiguous.drafts is None


def test_a_shared_prefix_is_read_once(tmp_path: Path) -> None:
    engine = counting(tmp_path)
    expected = engine.reply([*PROMPTS[4], 3, 2], options=DRAFT)
    assert engine.can_share
    engine.share(PROMPTS[4])
    cache = engine.new_cache()
    assert engine.prefill([*PROMPTS[4], 3], cache).new_tokens == 1
    assert engine.reply([*PROMPTS[4], 3, 2], cache, DRAFT).ids == expected.ids


def test_bounded_rounds_add_confident_counts(tmp_path: Path) -> None:
    engine = counting(tmp_path)
    found = engine.reply(PROMPTS[1], options=replace(COUNTS, rounds=2))
    assert found.stats.forwards == 2
    assert found.stats.drafts is not None
    verified = len(found.ids) - found.stats.drafts.unverified
    assert found.ids[:verified] == engine.reply(PROMPTS[1], options=PLAIN).ids[:verified]


def test_drafts_cost_nothing_and_passes_are_measured(tmp_path: Path) -> None:
    engine = counting(tmp_path, eos_ids=(63,))
    engine.warm_up(DRAFT)
    costs = engine.host.draft_costs
    assert costs.draft == 0.0
    assert all(ms > 0 for ms in costs.rows)
    assert engine.reply(PROMPTS[1], options=DRAFT).ids == (
        engine.reply(PROMPTS[1], options=PLAIN).ids
    )


# On disk


def test_both_kinds_are_told_apart_and_found_for_their_base(tmp_path: Path) -> None:
    engine = bare_engine()
    place = save_counts(engine, tmp_path / "counts")
    assert isinstance(load_drafter(place, engine.model, CONTEXT), CountedDrafter)
    assert bundled.find(engine.model, tmp_path) == place
    with pytest.raises(DrafterError, match="does not describe"):
        files.read(place)
    other = load_drafter(save_drafter(engine.model, tmp_path / "net"), engine.model, CONTEXT)
    assert not isinstance(other, CountedDrafter)


def test_counts_of_another_base_are_refused(tmp_path: Path) -> None:
    place = save_counts(bare_engine(), tmp_path)
    with pytest.raises(DrafterError, match="belongs to tiny"):
        bare_engine(num_layers=3).use_drafter(place)
    with pytest.raises(DrafterError, match="for other weights"):
        load_drafter(place, tiny_model(base_config(eos_ids=()), seed=1), CONTEXT)


def test_damaged_counts_are_refused(tmp_path: Path) -> None:
    engine = bare_engine()
    place = save_counts(engine, tmp_path)
    weights, config = place / files.WEIGHTS, place / files.CONFIG
    whole, told = weights.read_bytes(), json.loads(config.read_text())
    weights.write_bytes(whole[:-1])
    with pytest.raises(DrafterError, match="its sha256 is"):
        engine.use_drafter(place)
    weights.write_bytes(whole)
    for wrong in ({}, None, [], {**told["drafter"], "base_layers": None}):
        config.write_text(json.dumps({**told, "drafter": wrong}))
        with pytest.raises(DrafterError):
            engine.use_drafter(place)
    base = BaseConfig.of("tiny", engine.model)
    beyond = counted_table(engine)._replace(tokens=np.full_like(counted_table(engine).tokens, 64))
    files.save_counts(base, beyond, place, {})
    with pytest.raises(DrafterError, match="tokens that its base does not have"):
        engine.use_drafter(place)


# Making them


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("base"), "llama", layers=4)


@pytest.fixture
def small_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of a few short conversations."""

    def small(*given: Any) -> RecordPlan:
        return replace(make_plan(*given), shard=24, together=8, max_tokens=6)

    monkeypatch.setattr(tasks, "make_plan", small)


def task_for(base: Path, out: Path, **changes: Any) -> tasks.DrafterTask:
    training = DraftTraining(steps=1, batch=4, blocks=3, every_seconds=1e9)
    task = tasks.DrafterTask(
        base=str(base), out=out, system=SYSTEM, conversations=96, dtype="float32",
        training=training, threads=1, counts_only=True, evaluated=1,
    )  # fmt: skip
    return replace(task, **changes)


def test_the_marker_of_a_question_is_that_of_every_turn(tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path, "llama")
    (base / "chat_template.jinja").write_text(
        "<start>{% for m in messages %}{% if m.role == 'user' %}#{{ m.content }}"
        "{% else %}{{ m.content }}<end>{% endif %}{% endfor %}"
    )
    engine = Engine.load(base, dtype="float32", device="cpu")
    assert tasks.user_marker(engine) == engine.tokenizer.encode("#")


@pytest.mark.slow
@pytest.mark.usefixtures("small_plans")
def test_counts_are_made_without_training_and_change_no_word(base: Path, tmp_path: Path) -> None:
    told: list[str] = []
    task = task_for(base, tmp_path)
    # When the time is up, what is there is packed, and the same task goes on.
    assert not tasks.make(replace(task, seconds=1e-6), tell=told.append)
    first = json.loads((tmp_path / tasks.DRAFTER / files.CONFIG).read_text())
    assert len(shard_paths(task.recordings)) == 1
    assert tasks.make(task, tell=told.append)
    place = tmp_path / tasks.DRAFTER
    values = json.loads((place / files.CONFIG).read_text())
    assert values["ngrams"]["conversations"] == 95
    assert values["ngrams"]["contexts"] > first["ngrams"]["contexts"] > 0
    assert "of 7 replies equal the base's" in told[-1]
    card = (place / packing.CARD).read_text()
    assert values["sha256"] in card
    assert card.count("| all | 7 | 1.0 |") == 1
    assert not (tmp_path / tasks.RUN).exists()
    assert not [path for path in place.iterdir() if path.suffix == ".partial"]
    # Hidden states, most of a recording, are left out.
    assert Corpus(task.recordings).features(0).shape[1] == 0
    engine = Engine.load(base, dtype="float32", device="cpu")
    engine.use_drafter(place)
    ids = engine.encode_chat([("system", SYSTEM), ("user", "Hi.")])
    assert engine.reply(ids, options=DRAFT).ids == engine.reply(ids, options=PLAIN).ids


@pytest.mark.slow
@pytest.mark.usefixtures("small_plans")
def test_recordings_for_a_network_are_counted_and_others_train_none(
    base: Path, tmp_path: Path
) -> None:
    trained = task_for(base, tmp_path / "states", counts_only=False, conversations=24)
    assert tasks.make(trained, "record")
    counted = replace(trained, counts_only=True, conversations=48)
    assert tasks.make(counted, "record")
    assert tasks.make(counted, "pack")
    assert RecordPlan.read(counted.recordings).features
    assert json.loads((counted.out / tasks.DRAFTER / files.CONFIG).read_text())["ngrams"]
    bare = task_for(base, tmp_path / "bare", conversations=24)
    assert tasks.make(bare, "record")
    for stage in ("record", "train", "all"):
        with pytest.raises(DataError, match="recorded with --counts-only"):
            tasks.make(replace(bare, counts_only=False), stage)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_plans")
def test_what_cannot_be_counted_is_said(base: Path, tmp_path: Path) -> None:
    task = task_for(base, tmp_path)
    with pytest.raises(DataError, match="holds no recordings"):
        tasks.make(task, "pack")
    engine = Engine.load(base, dtype="float32", device="cpu")
    plan = make_plan(engine, str(base), SYSTEM, "float32", 1)
    plan.save(task.recordings)
    with pytest.raises(DataError, match="no recordings to count"):
        tasks.make(task, "pack")
    (task.recordings / PLAN).unlink()
    replace(plan, fingerprint="0" * 64).save(task.recordings)
    with pytest.raises(DataError, match="whose weights are not those of"):
        tasks.make(task, "pack")


def test_the_command_trains_nothing_with_counts_only(tmp_path: Path) -> None:
    arguments = ["adapt", "drafter", "--counts-only", "--stage", "train", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "--counts-only trains" in done.output
