"""The making of a drafter, stage by stage, on a tiny base."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoints import write_checkpoint
from support.tiny import tiny_config
from typer.testing import CliRunner

from agent.cli.main import app
from dllm_core import DecodeOptions, Engine
from dllm_core.adapt.drafter import packing, tasks
from dllm_core.adapt.drafter.batches import NOTHING, anchors_of, batch_of
from dllm_core.adapt.drafter.comparison import Compared, cases_of, compare, rows_of
from dllm_core.adapt.drafter.conversations import Conversation, Source
from dllm_core.adapt.drafter.gradients import Gradients, StepLoss
from dllm_core.adapt.drafter.measure import accepted
from dllm_core.adapt.drafter.options import DraftTraining, Precision
from dllm_core.adapt.drafter.recording import RecordPlan, make_plan, record, together
from dllm_core.adapt.drafter.replies import Writer
from dllm_core.adapt.drafter.shards import Corpus, shard_paths
from dllm_core.adapt.drafter.training import DraftTrainer
from dllm_core.adapt.held_out import (
    HeldOutConversation,
    conversations,
    held_out_prompts,
    plain,
)
from dllm_core.errors import DataError, OptionError, TooLargeError
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, Taps, visibility

SYSTEM = "Be brief."
TALKS = [
    Conversation(SYSTEM, ("Hi.",)),
    Conversation(SYSTEM, ("Who was she?", "Why?")),
    Conversation(None, ("Ok.",)),
    Conversation("Sing.", ("A.", "B.", "C.")),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("base"), "llama", layers=4)


@pytest.fixture(scope="module")
def engine(base: Path) -> Engine:
    return Engine.load(base, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def recorded(engine: Engine, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few short shards."""
    directory = tmp_path_factory.mktemp("out") / tasks.RECORDINGS
    assert record(engine, small_plan(engine, base), directory, 48)
    return directory


def small_plan(engine: Engine, base: Path) -> RecordPlan:
    plan = make_plan(engine, str(base), SYSTEM, "float32", seed=1)
    return replace(plan, shard=24, together=8, max_tokens=6)


def task_for(base: Path, recorded: Path, steps: int = 4) -> tasks.DrafterTask:
    return tasks.DrafterTask(
        base=str(base), out=recorded.parent, system=SYSTEM, words=64, block=3, dtype="float32",
        training=DraftTraining(steps=steps, batch=4, blocks=3, every_seconds=1e9),
    )  # fmt: skip


@pytest.mark.slow
def test_conversations_are_the_same_for_a_seed_and_keep_away_from_the_evaluation() -> None:
    first, second = (Source(5, SYSTEM) for _ in range(2))
    drawn = [first.draw() for _ in range(1500)]
    assert drawn == [second.draw() for _ in range(1500)]
    assert drawn != [Source(6, SYSTEM).draw() for _ in range(1500)]
    said = {plain(turn) for each in drawn for turn in each.turns}
    assert not said & held_out_prompts()
    assert {len(each.turns) for each in drawn} == {1, 2, 3, 4}
    systems = {each.system for each in drawn}
    assert {None, SYSTEM} < systems
    assert len(systems) > 50
    measured = {each.system for each in conversations()} - {None}
    assert not measured & systems


def test_own_prompts_make_half_of_the_first_turns() -> None:
    source = Source(1, SYSTEM, own=["where is my parcel"])
    drawn = [source.draw() for _ in range(400)]
    own = [each for each in drawn if "parcel" in each.turns[0].lower()]
    assert 0.3 < len(own) / len(drawn) < 0.6


def test_every_domain_of_the_evaluation_has_fifty_conversations() -> None:
    found = conversations()
    domains = {each.domain for each in found}
    assert all(sum(each.domain == name for each in found) == 50 for name in domains)
    assert len(set(found)) == len(found) == 350
    assert {len(each.turns) for each in found} == {1, 2, 4}


@pytest.mark.slow
def test_a_recording_has_the_bases_own_replies_and_hidden_states(engine: Engine) -> None:
    layers = (0, 2, 3)
    writer = Writer(engine, layers, together=3, max_tokens=9, longest=200)
    found = list(writer.write(iter(TALKS)))
    assert len(found) == len(TALKS)
    # What a random model says is no text that is written in the same tokens again: of earlier
    # replies only those are kept that are.
    assert all(1 <= len(each.replies) <= 3 for each in found)
    assert sum(len(each.replies) for each in found) >= 5
    for each in found:
        ids = each.ids.tolist()
        for start, stop in each.replies.tolist():
            options = DecodeOptions(max_tokens=9)
            said = engine.reply(ids[:start], options=options)
            kept = [token for token in ids[start:stop] if token not in engine.config.eos_ids]
            assert kept == list(said.ids)[: len(kept)]
        known = len(each.features)
        assert known in (len(ids), len(ids) - 1)
        alone = hidden_states(engine, ids[:known], layers)
        scale = alone.abs().max()
        assert (
            torch.from_numpy(each.features.astype(np.float32)) - alone
        ).abs().max() < scale / 500


def hidden_states(engine: Engine, ids: list[int], layers: tuple[int, ...]) -> torch.Tensor:
    cache: PromptCache = engine.contiguous_cache()
    cache.reserve(len(ids))
    mask = visibility(engine.config, 0, len(ids), len(ids))
    taps = Taps.after(layers, len(ids), engine.config)
    with torch.inference_mode():
        engine.model(
            torch.tensor(ids), [Span(cache.store, 0, len(ids), len(ids), mask)], None, taps
        )
    return taps.features


@pytest.mark.slow
def test_recording_goes_on_where_it_stopped_and_makes_the_same_shards(
    engine: Engine, base: Path, recorded: Path, tmp_path: Path
) -> None:
    plan = small_plan(engine, base)
    assert not record(engine, plan, tmp_path, 48, seconds=1e-6)
    assert len(shard_paths(tmp_path)) == 1
    assert record(engine, plan, tmp_path, 48)
    for mine, theirs in zip(shard_paths(tmp_path), shard_paths(recorded), strict=True):
        assert mine.read_bytes() == theirs.read_bytes()
    with pytest.raises(DataError, match="another base, other layers or other settings"):
        record(engine, replace(plan, features=(0, 1, 2)), tmp_path, 48)


@pytest.mark.slow
def test_several_processes_make_the_same_shards(
    base: Path, engine: Engine, recorded: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    assert record(
        engine, small_plan(engine, base), tmp_path, 48,
        source=str(base), processes=2, tell=told.append,
    )  # fmt: skip
    for mine, alone in zip(shard_paths(tmp_path), shard_paths(recorded), strict=True):
        assert mine.read_bytes() == alone.read_bytes()
    assert len(told) == 2
    assert "0 s left" in told[-1]


@pytest.mark.slow
def test_a_second_process_changes_nothing(
    base: Path, recorded: Path, tmp_path: Path, engine: Engine
) -> None:
    corpus, plan = Corpus(recorded), RecordPlan.read(recorded)

    def trained(processes: int) -> DraftTrainer:
        task = replace(task_for(base, recorded), out=tmp_path / str(processes))
        task.run.mkdir(parents=True)
        options = replace(task.training, processes=processes)
        network = tasks._network(task, engine, plan, corpus)
        trainer = DraftTrainer(network, corpus, options, task.run)
        assert trainer.run()
        return trainer

    alone, beside = trained(1), trained(2)
    for mine, theirs in zip(alone.network.parameters(), beside.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert alone._smooth == beside._smooth


def test_the_end_of_the_second_process_is_told(
    base: Path, recorded: Path, tmp_path: Path, engine: Engine
) -> None:
    corpus, plan = Corpus(recorded), RecordPlan.read(recorded)
    task = replace(task_for(base, recorded), out=tmp_path)
    task.run.mkdir()
    network = tasks._network(task, engine, plan, corpus)
    gradients = Gradients(network, StepLoss(network, corpus, task.training))
    gradients._other, theirs = multiprocessing.Pipe()
    theirs.close()
    with pytest.raises(TooLargeError, match="second process"):
        gradients.step(0)


def test_products_in_bfloat16_learn_the_same(
    base: Path, recorded: Path, tmp_path: Path, engine: Engine
) -> None:
    task = task_for(base, recorded)
    corpus, plan = Corpus(recorded), RecordPlan.read(recorded)
    task = replace(task, out=tmp_path)
    task.run.mkdir()
    network = tasks._network(task, engine, plan, corpus)

    def gradient(precision: Precision) -> torch.Tensor:
        network.zero_grad()
        options = replace(task.training, precision=precision)
        StepLoss(network, corpus, options).backward(0, 0)
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    exact, short = gradient("float32"), gradient("bfloat16")
    assert torch.equal(exact, gradient("float32"))
    assert not torch.equal(exact, short)
    assert torch.nn.functional.cosine_similarity(exact, short, dim=0) > 0.99


def test_a_damaged_shard_is_named(recorded: Path, tmp_path: Path) -> None:
    shard = tmp_path / shard_paths(recorded)[0].name
    shard.write_bytes(shard_paths(recorded)[0].read_bytes()[:100])
    with pytest.raises(DataError, match="is damaged"):
        Corpus(tmp_path)
    with pytest.raises(DataError, match="no recordings"):
        RecordPlan.read(tmp_path)


def test_blocks_ask_for_what_was_said_and_for_nothing_beyond(recorded: Path) -> None:
    corpus = Corpus(recorded)
    batch = batch_of(corpus, np.arange(6), count=7, block=4, seed=(1, 2))
    again = batch_of(corpus, np.arange(6), count=7, block=4, seed=(1, 2))
    assert all(torch.equal(a, b) for a, b in zip(batch, again, strict=True))
    for row in range(6):
        ids, replies = corpus.ids[row], corpus.replies[row]
        assert int(batch.positions[row, 0]) in replies[:, 0] - 1
        for block in range(7):
            at = int(batch.positions[row, block])
            stop = next(e for s, e in replies.tolist() if s - 1 <= at < e - 1)
            assert int(batch.tokens[row, block]) == ids[at]
            for j in range(4):
                inside = at + 1 + j < stop
                wanted = ids[at + 1 + j] if inside else NOTHING
                assert int(batch.targets[row, block, j]) == wanted
                if inside:
                    assert int(batch.previous[row, block, j]) == ids[at + j]
        features = corpus.features(row)
        kept = min(len(features), batch.features.shape[1])
        assert torch.equal(
            batch.features[row, :kept], torch.from_numpy(features[:kept].astype(np.float32))
        )
    assert len(anchors_of(np.array([[3, 6], [9, 10]], np.int32)).every) == 4


@pytest.mark.slow
def test_training_lowers_the_loss_and_resumes_to_the_last_bit(
    engine: Engine, base: Path, recorded: Path, tmp_path: Path
) -> None:
    task = replace(task_for(base, recorded, steps=12), out=recorded.parent)
    corpus, plan = Corpus(recorded), RecordPlan.read(recorded)

    def trainer(name: str) -> DraftTrainer:
        (tmp_path / name).mkdir(exist_ok=True)
        moved = replace(task, out=tmp_path / name)
        moved.run.mkdir(exist_ok=True)
        network = tasks._network(moved, engine, plan, corpus)
        found = DraftTrainer(network, corpus, task.training, moved.run)
        found.resume()
        return found

    whole = trainer("whole")
    losses = whole._gradients._losses
    batch = losses.batch(0, 0)
    before = losses.of(batch).item()
    for _ in range(12):
        whole._advance()
    assert losses.of(batch).item() < before
    pieces = trainer("pieces")
    for _ in range(6):
        pieces._advance()
    pieces.save(1.0)
    pieces = trainer("pieces")
    assert pieces.step == 6
    for _ in range(6):
        pieces._advance()
    for mine, theirs in zip(pieces.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(DataError, match="too few to train on"):
        DraftTrainer(whole.network, corpus, replace(task.training, batch=500), tmp_path)


@pytest.mark.slow
def test_all_stages_end_in_a_drafter_that_changes_no_word(base: Path, recorded: Path) -> None:
    told: list[str] = []
    task = task_for(base, recorded)
    assert tasks.make(task, "train", told.append, lambda report: told.append(report.describe()))
    assert tasks.make(task, "pack", told.append)
    assert "step 4 of 4" in " ".join(told)
    told.clear()
    task = replace(task, evaluated=1)
    assert [tasks.make(task, "evaluate", told.append) for _ in range(2)] == [True, True]
    assert "of 7 replies equal the base's" in told[-1]
    place = task.out / tasks.DRAFTER
    card = (place / packing.CARD).read_text()
    values = json.loads((place / "config.json").read_text())
    assert values["sha256"] in card
    assert "48 conversations" in card
    assert card.count("| all | 7 | 1.0 |") == 1
    assert len((place / packing.EVALUATION).read_text().splitlines()) == 8
    assert values["training"]["blocks"] == 4 * 4 * 3
    engine = Engine.load(base, dtype="float32", device="cpu")
    engine.use_drafter(place)
    assert engine.default_options.rule == "draft"
    ids = engine.encode_chat([("system", SYSTEM), ("user", "Hi.")])
    plain_reply = engine.reply(ids, options=DecodeOptions(max_tokens=20))
    assert engine.reply(ids, options=DecodeOptions(rule="draft", max_tokens=20)).ids == (
        plain_reply.ids
    )
    picture = task.run / "tokens.png"
    done = CliRunner().invoke(app, ["adapt", "plot", str(task.run), "--out", str(picture)])
    assert done.exit_code == 0, done.output
    assert picture.stat().st_size > 1000
    assert accepted(tasks.averaged_network(task.run, engine), Corpus(recorded), [0, 1]).right


@pytest.mark.slow
def test_the_command_trains_and_tells_its_measurements(
    base: Path, recorded: Path, tmp_path: Path
) -> None:
    shutil.copytree(recorded, tmp_path / tasks.RECORDINGS)
    options = "--stage train --steps 2 --batch 4 --blocks 3 --words 64 --dtype float32 --threads 1"
    arguments = ["adapt", "drafter", str(base), "--out", str(tmp_path), *options.split()]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "step 2 of 2" in done.output
    assert (tmp_path / tasks.RUN / "checkpoint.pt").is_file()


@pytest.mark.slow
def test_the_bench_compares_reply_by_reply(base: Path, recorded: Path) -> None:
    task = task_for(base, recorded)
    tasks.make(task, "train")
    tasks.make(task, "pack")
    engine = Engine.load(base, dtype="float32", device="cpu")
    engine.use_drafter(task.out / tasks.DRAFTER)
    asked = [
        HeldOutConversation("facts", ("Hi.",), answers=("no such answer",)),
        HeldOutConversation("turns", ("A.", "B."), system="Sing."),
    ]
    cases, costs = list(cases_of(engine, asked, SYSTEM)), engine.host.draft_costs
    assert [len(case.messages) for case in cases] == [2, 4]
    found: list[Compared] = list(compare(engine, cases, max_tokens=8, wide=True, rounds=2))
    rows = list(rows_of(found))
    assert [row["domain"] for row in rows] == ["facts", "turns", "all"]
    assert all(row["equal"] == 1.0 for row in rows)
    assert rows[-1]["facts_asked"] == 1
    assert rows[0]["tokens_a_pass"] >= 1.0
    assert rows[0]["tokens_a_pass_wide"] >= 1.0
    assert 0 <= rows[0]["unverified_bounded"] < 8
    assert 0 <= rows[0]["beginnings_bounded"] <= 1
    assert all(each.wide is not None and each.wide.ids == each.plain.ids for each in found)
    assert all(each.bounded is not None and each.bounded.forwards <= 2 for each in found)
    assert engine.host.draft_costs == costs
    assert all(each.drafted.forwards <= each.plain.forwards for each in found)


def test_fewer_conversations_of_a_large_base_are_in_step() -> None:
    smollm = tiny_config(num_layers=30, num_kv_heads=3, num_heads=9, head_dim=64)
    qwen3 = tiny_config(num_layers=28, num_kv_heads=8, num_heads=16, head_dim=128)
    largest = tiny_config(num_layers=96, num_kv_heads=64, num_heads=64, head_dim=128)
    assert [together(config) for config in (smollm, qwen3, largest)] == [32, 18, 4]


def test_a_drafter_needs_a_base_that_writes_from_left_to_right(tmp_path: Path) -> None:
    masked = Engine.load(write_checkpoint(tmp_path, "llada"), dtype="float32", device="cpu")
    with pytest.raises(OptionError, match="left to right"):
        make_plan(masked, "llada", SYSTEM, "float32", seed=1)


@pytest.mark.parametrize(
    ("option", "told"),
    [("stage", "cook is no stage"), ("precision", "cook is no precision")],
)
def test_the_command_refuses_what_there_is_not(option: str, told: str, tmp_path: Path) -> None:
    arguments = ["adapt", "drafter", f"--{option}", "cook", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert told in done.output
