"""`onebreath adapt drafter`: record, train, pack. Every stage goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Literal

import torch

from dllm_core.adapt.drafter import packing
from dllm_core.adapt.drafter.comparison import cases_of, compare, in_turn, rows_of
from dllm_core.adapt.drafter.options import DraftTraining
from dllm_core.adapt.drafter.recording import PLAN, RecordPlan, make_plan, record
from dllm_core.adapt.drafter.shards import Corpus
from dllm_core.adapt.drafter.training import (
    CHECKPOINT,
    CONFIG,
    DraftTrainer,
    Listener,
    new_network,
    read_checkpoint,
)
from dllm_core.adapt.held_out import conversations
from dllm_core.config import DecodeOptions
from dllm_core.draft.config import BaseConfig, DrafterConfig, shape_for
from dllm_core.draft.network import DraftNetwork
from dllm_core.engine import Engine
from dllm_core.errors import DataError
from dllm_core.model.cache import shared_prefix
from dllm_core.model.place import Dtype

Tell = Callable[[str], None]
Stage = Literal["all", "record", "train", "pack", "evaluate"]

RECORDINGS, RUN, DRAFTER = "recordings", "run", "drafter"
"""Directories of a drafter's making: shards, the training run, the weights to be used."""
_MARKER = 3
"""Tokens that tell where a caller's words begin."""
_LONGEST_REPLY = 48
"""Tokens of a reply of the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrafterTask:
    """How a drafter is made."""

    base: str
    out: Path
    system: str
    own: Sequence[str] = ()
    """Prompts of the user's, in place of half of the bundled ones."""
    conversations: int = 15_360
    training: DraftTraining
    counts_only: bool = False
    """Make a drafter without a network: what the base usually says, in an hour, not a night."""
    words: int = 6144
    layers: int = 2
    block: int = 6
    seconds: float | None = None
    """Of this call, recording and training together."""
    evaluated: int = 50
    """Held-out conversations of each domain, at most."""
    dtype: Dtype = "auto"
    threads: int | None = None
    seed: int = 1

    @property
    def recordings(self) -> Path:
        return self.out / RECORDINGS

    @property
    def run(self) -> Path:
        return self.out / RUN


def make(
    task: DrafterTask,
    stage: Stage = "all",
    tell: Tell = lambda text: None,
    listen: Listener = lambda report: None,
) -> bool:
    """Carry out a stage or all of them; returns whether they are done (False: time is up).

    With `counts_only` what was recorded until time is up is packed, so that it can be used; the
    same task goes on from there.

    Raises:
        DataError, OptionError, ModelFileError: as the stages say.
    """
    begin = monotonic()
    engine = Engine.load(task.base, dtype=task.dtype, device="cpu", threads=task.threads)
    recorded = stage not in ("all", "record") or _record(task, engine, tell)
    if task.counts_only:
        if stage in ("all", "pack"):
            pack_counts(task, engine, tell)
        if stage == "evaluate" or (stage == "all" and recorded):
            evaluate(task, engine, tell)
        return recorded
    if not recorded:
        return False
    if stage in ("all", "train"):
        left = None if task.seconds is None else task.seconds - (monotonic() - begin)
        if not train(task, engine, left, tell, listen):
            return False
    if stage in ("all", "pack"):
        pack(task, engine, tell)
    if stage in ("all", "evaluate"):
        evaluate(task, engine, tell)
    return True


def _record(task: DrafterTask, engine: Engine, tell: Tell) -> bool:
    """Record conversations; returns whether all are there.

    Raises:
        DataError: there are recordings of another plan, or without the states that a network needs.
    """
    plan = make_plan(engine, task.base, task.system, task.dtype, task.seed, task.own)
    if (task.recordings / PLAN).exists():
        there = RecordPlan.read(task.recordings)
        if task.counts_only:
            plan = replace(plan, features=there.features)  # recordings with states are counted, too
        else:
            _check_states(task, there)
    elif task.counts_only:
        plan = replace(plan, features=())
    return record(
        engine, plan, task.recordings, task.conversations,
        own=task.own, seconds=task.seconds, tell=tell,
        source=task.base, processes=task.threads or torch.get_num_threads(),
    )  # fmt: skip


def _check_states(task: DrafterTask, plan: RecordPlan) -> None:
    if not plan.features:
        raise DataError(
            f"{task.recordings} was recorded with --counts-only, without what a network learns "
            "from: go on with --counts-only, or name another directory with --out."
        )


def train(
    task: DrafterTask, engine: Engine, seconds: float | None, tell: Tell, listen: Listener
) -> bool:
    """Train on the recordings, or go on with the run."""
    plan, corpus = RecordPlan.read(task.recordings), Corpus(task.recordings)
    _check_states(task, plan)
    task.run.mkdir(parents=True, exist_ok=True)
    network = _network(task, engine, plan, corpus)
    processes = task.threads or torch.get_num_threads()
    options = replace(task.training, seconds=seconds, processes=processes)
    trainer = DraftTrainer(network, corpus, options, task.run)
    weights = sum(p.numel() for p in network.parameters())
    tell(f"{len(corpus)} conversations, {weights / 1e6:.1f} million weights")
    if trainer.resume():
        tell(f"going on after step {trainer.step} of {options.steps}")
    return trainer.run(listen)


def _network(task: DrafterTask, engine: Engine, plan: RecordPlan, corpus: Corpus) -> DraftNetwork:
    """The run's network, or a new one; what it is made of is noted beside the run."""
    path = task.run / CONFIG
    if path.exists():
        config = DrafterConfig.from_json(json.loads(path.read_text()))
        config.check(engine.model)
        vocabulary = torch.zeros(config.words, dtype=torch.long)
        if not (task.run / CHECKPOINT).exists():
            return new_network(config, engine.model.embedding, corpus, task.training.seed)
        state = read_checkpoint(task.run / CHECKPOINT)["network"]
        network = DraftNetwork(config, engine.model.embedding, vocabulary)
        network.load_state_dict(state)
        network.use(engine.model.embedding)
        return network
    shape = {**shape_for(engine.config), "features": plan.features}
    config = DrafterConfig(
        base=plan.base, fingerprint=plan.fingerprint, words=task.words,
        layers=task.layers, block=task.block, **shape,
    )  # fmt: skip
    config.check(engine.model)
    path.write_text(json.dumps(config.to_json(), indent=2) + "\n")
    return new_network(config, engine.model.embedding, corpus, task.training.seed)


def averaged_network(run: Path, engine: Engine) -> DraftNetwork:
    """The network of a run with the average of its weights.

    Raises:
        DataError: there is no run, or it is damaged.
    """
    try:
        config = DrafterConfig.from_json(json.loads((run / CONFIG).read_text()))
    except (OSError, ValueError) as error:
        raise DataError(f"{run} holds no training run: {error}.") from error
    config.check(engine.model)
    state = read_checkpoint(run / CHECKPOINT)
    network = DraftNetwork(config, engine.model.embedding, state["network"]["vocabulary"])
    network.load_state_dict(state["network"])
    network.use(engine.model.embedding)
    with torch.no_grad():
        for mine, average in zip(network.parameters(), state["average"], strict=True):
            mine.copy_(average)
    return network.eval()


def evaluate(task: DrafterTask, engine: Engine, tell: Tell) -> Path:
    """Reply to the held-out conversations with the packed drafter and without; a row a domain.

    Returns:
        The file of the rows, beside the drafter; its card gets them as a table.
    """
    target = task.out / DRAFTER
    engine.use_drafter(target)
    engine.warm_up(DecodeOptions(rule="draft"))
    cases = list(cases_of(engine, in_turn(conversations(task.evaluated)), task.system))
    rows = list(rows_of(list(compare(engine, cases, max_tokens=_LONGEST_REPLY, report=tell))))
    path = target / packing.EVALUATION
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    packing.tell_evaluation(target, rows)
    for row in rows:
        tell(
            f"{row['domain']}: {row['tokens_a_pass']} tokens a pass, {row['equal']:.0%} of "
            f"{row['replies']} replies equal the base's"
        )
    return path


def user_marker(engine: Engine) -> list[int]:
    """The tokens right before a caller's words in a prompt of this model, in every turn: some
    templates have a token of their own before the first."""
    first = engine.encode_chat_head([])
    later = engine.encode_chat_head([("user", "Hi."), ("assistant", "Hello.")])
    same = shared_prefix(first[::-1], later[::-1])
    return first[-min(same, _MARKER) :] if same else first[-_MARKER:]


def pack(task: DrafterTask, engine: Engine, tell: Tell) -> Path:
    """Write the weights to be used, with their calibration and their card."""
    network = averaged_network(task.run, engine)
    corpus = Corpus(task.recordings)
    target = task.out / DRAFTER
    card = packing.pack(network, corpus, task.run, target, user_marker(engine))
    tell(f"drafter: {target}; {card}")
    return target


def pack_counts(task: DrafterTask, engine: Engine, tell: Tell) -> Path:
    """Count what was recorded, and write a drafter without a network.

    Raises:
        DataError: nothing was recorded, or by another base.
    """
    plan, target = RecordPlan.read(task.recordings), task.out / DRAFTER
    config = BaseConfig.of(plan.base, engine.model)
    if config.fingerprint != plan.fingerprint:
        raise DataError(
            f"{task.recordings} holds replies of {plan.base}, whose weights are not those of "
            f"{task.base}: name the base that was recorded, or another directory with --out."
        )
    card = packing.pack_counts(config, Corpus(task.recordings), target, user_marker(engine))
    tell(f"drafter: {target}; {card}")
    return target
