"""The pieces of an adaptation: make data, train, record trajectories, evaluate, export.

Each piece loads its model, reports its progress, stops at its time limit and can be called again to
continue. The command lines (`onebreath adapt`, `python -m dllm_core.adapt`) call these functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dllm_core.adapt import memory
from dllm_core.adapt.collate import CollateOptions, Collator
from dllm_core.adapt.distill import DistillOptions, distill, record, spellings
from dllm_core.adapt.evaluate import STEPS, Evaluation, Row, Tell, answer_rows
from dllm_core.adapt.examples import (
    Example,
    end_of_reply,
    read_examples,
    write_rows,
)
from dllm_core.adapt.held_out import questions, without_held_out
from dllm_core.adapt.network import Network
from dllm_core.adapt.train import Listener, Trainer, TrainOptions, latest, new_adapter
from dllm_core.config import ModelConfig
from dllm_core.engine import Engine
from dllm_core.errors import DataError, OptionError
from dllm_core.json_lines import read_rows
from dllm_core.model import checkpoint, lora
from dllm_core.model.lora import Adapter, DenoiserSettings
from dllm_core.model.place import Dtype, choose_device
from dllm_core.model.tokenizer import Tokenizer

SYSTEM = (
    "You are a helpful voice assistant. Answer in one or two short sentences, "
    "in plain words that can be spoken."
)
"""System prompt of the agent; a test compares the two."""

_VALIDATION = 256
"""Largest number of examples that are kept out of training for validation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainTask:
    """Settings of one training run.

    Attributes:
        base: directory or file of the base model.
        data: files of examples.
        out: directory of the run.
        options: options of the training loop.
        collate: how positions are hidden.
        system: instructions before prompts that have none of their own.
        rank: rank of the adapter.
        alpha: scale of the adapter; None means twice the rank.
        canvas_layers: layers that the canvas runs through; None means all.
        mask_token: token that does not occur in text, for a base without a mask token.
        start: adapter to start from, with fresh moments of the optimiser.
        longest: longest example in tokens; longer ones are left out.
        recompute: recompute activations in the backward pass, to save memory.
        device: "auto", "cpu" or "cuda".
        dtype: dtype of the base's weights; "auto" is float32 on a CPU, else bfloat16.
        config: fields of ModelConfig that the checkpoint does not define.
    """

    base: str
    data: Sequence[Path]
    out: Path
    options: TrainOptions
    collate: CollateOptions = field(default_factory=CollateOptions)
    system: str | None = SYSTEM
    rank: int = 32
    alpha: float | None = None
    canvas_layers: tuple[int, ...] | None = None
    mask_token: str | None = None
    start: Path | None = None
    longest: int = 512
    recompute: bool = False
    device: str = "auto"
    dtype: Dtype = "auto"
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A training run with its data read, before weights are loaded.

    Attributes:
        config: configuration of the model, with its mask token.
        tokenizer: tokenizer of the model.
        examples: all examples that are short enough.
        needed: memory of a step.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    examples: Sequence[Example]
    needed: memory.MemoryEstimate


MAX_RANK = 1024
"""Rank of an adapter, at most."""


def plan(task: TrainTask) -> TrainingPlan:
    """Read the configuration and the data and estimate the memory, without loading weights.

    Raises:
        DataError: a file cannot be read or holds no usable example.
        OptionError: an option does not fit the model.
        AdapterError, ModelFileError: the adapter or the model is missing or damaged.
    """
    found = checkpoint.find(task.base, task.config)
    config = replace(found.config, mask_id=_mask_id(task, found.config, found.tokenizer))
    _check_layers(task.canvas_layers, config.num_layers)
    if not 1 <= task.rank <= MAX_RANK:
        raise OptionError(f"The rank lies between 1 and {MAX_RANK}, not at {task.rank}.")
    examples: list[Example] = []
    for path in task.data:
        examples += read_examples(
            path, found.tokenizer, config, system=task.system, longest=task.longest
        )
    canvas = max(task.collate.canvas_lengths)
    double = task.collate.complementary and task.collate.commit is None
    needed = memory.estimate(
        config,
        rank=task.rank,
        layers=task.canvas_layers,
        sequences=task.options.batch * (2 if double else 1),
        length=max(len(example.prompt) for example in examples) + canvas,
        # A canvas and its complement together hide every position once.
        canvas=canvas // 2 if double else canvas,
        weight_bytes=2 if _float_dtype(task) == "bfloat16" else 4,
        recompute=task.recompute,
    )
    return TrainingPlan(config, found.tokenizer, examples, needed)


def _check_layers(layers: Sequence[int] | None, count: int) -> None:
    if layers is None:
        return
    if not layers or any(not 0 <= i < count for i in layers) or len({*layers}) < len(layers):
        raise OptionError(
            f"--layers takes indices of the model's {count} layers, 0 to {count - 1}, each once, "
            f"not {', '.join(map(str, layers)) or 'none'}."
        )


def _float_dtype(task: TrainTask) -> Dtype:
    if task.dtype in ("int8", "int4"):
        raise OptionError(f"{task.dtype} layers cannot be trained: use float32 or bfloat16.")
    if task.dtype != "auto":
        return task.dtype
    return "float32" if choose_device(task.device).type == "cpu" else "bfloat16"


def _mask_id(task: TrainTask, config: ModelConfig, tokenizer: Tokenizer) -> int:
    if config.mask_id is not None:
        return config.mask_id
    settings = None if task.start is None else lora.read_denoiser(task.start)
    if settings is not None:
        return settings.mask_id
    if task.mask_token is None:
        raise OptionError(
            "This model has no mask token: name a token of its vocabulary that no text contains "
            "(--mask-token; '<empty_output>' for SmolLM2)."
        )
    found = tokenizer.token_id(task.mask_token)
    if found is None or found in config.eos_ids:
        raise OptionError(f"{task.mask_token!r} is no token that can serve as the mask.")
    return found


def train(
    task: TrainTask, tell: Tell = lambda text: None, listen: Listener = lambda report: None
) -> bool:
    """Train, or resume the run in `out`; returns whether all steps are done.

    Raises:
        TooLargeError: the run does not fit the memory.
    """
    planned = plan(task)
    device = choose_device(task.device)
    tell(f"{len(planned.examples)} examples; memory: {planned.needed.describe()}")
    memory.check(planned.needed, memory.available(device), device)
    trainer = make_trainer(task, planned)
    if trainer.resume():
        tell(f"going on after step {trainer.step} of {task.options.steps}")
    kept, held = _split(planned.examples)
    tell(_validated("before", trainer.validate(held)))
    done = trainer.run(kept, listen)
    tell(_validated(f"after step {trainer.step}", trainer.validate(held)))
    return done


def _validated(when: str, figures: tuple[float, float]) -> str:
    return f"validation {when}: entropy {figures[0]:.4f}, accuracy {figures[1]:.4f}"


def _split(examples: Sequence[Example]) -> tuple[Sequence[Example], Sequence[Example]]:
    """Examples for training, and every n-th one for validation."""
    every = max(10, len(examples) // _VALIDATION)
    held = examples[::every]
    kept = [example for i, example in enumerate(examples) if i % every]
    return (kept, held) if kept else (examples, examples)


def make_trainer(task: TrainTask, planned: TrainingPlan) -> Trainer:
    """Load the base and attach the adapter."""
    engine = Engine.load(
        task.base,
        dtype=_float_dtype(task),
        device=task.device,
        context=task.longest + max(task.collate.canvas_lengths),
        config={**task.config, "mask_id": planned.config.mask_id},
    )
    adapter = _first_adapter(task, planned, engine)
    collate = Collator(planned.config, task.collate, end_of_reply(planned.config))
    return Trainer(
        engine.model, adapter, collate, task.options, task.out,
        base=Path(task.base).name, recompute=task.recompute,
    )  # fmt: skip


def _first_adapter(task: TrainTask, planned: TrainingPlan, engine: Engine) -> Adapter:
    if task.start is not None:
        return lora.load(task.start, planned.config)
    own_mask = checkpoint.find(task.base, task.config).config.mask_id is not None
    assert planned.config.mask_id is not None
    settings = DenoiserSettings(
        mask_id=planned.config.mask_id,
        canvas_length=max(
            (length for length in task.collate.canvas_lengths if length <= 32),
            default=min(task.collate.canvas_lengths),
        ),
        canvas_layers=task.canvas_layers,
    )
    return new_adapter(
        engine.model,
        rank=task.rank,
        alpha=2.0 * task.rank if task.alpha is None else task.alpha,
        settings=None if own_mask and task.canvas_layers is None else settings,
        learn_mask=not own_mask,
        seed=task.options.seed,
    )


def read_prompts(paths: Sequence[Path]) -> list[str]:
    """Distinct prompts in both spellings, without those of the evaluation.

    Each line of the files has a `prompt` or a `text`.

    Raises:
        DataError: a line has neither.
    """
    found: dict[str, None] = {}
    for path in paths:
        for number, row in read_rows(path):
            text = row.get("prompt", row.get("text"))
            if not isinstance(text, str):
                raise DataError(f"{path}, line {number} has neither a prompt nor a text.")
            found |= dict.fromkeys(spellings(text))
    return without_held_out(found)


def make_data(
    base: str,
    prompts: Sequence[Path],
    out: Path,
    options: DistillOptions,
    *,
    limit: int | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    tell: Tell = lambda text: None,
) -> bool:
    """Write the base's own replies to `out`; a second call continues.

    Returns:
        Whether all prompts are done.
    """
    todo = read_prompts(prompts)[:limit]
    progress = out.with_suffix(".done")
    done = int(progress.read_text()) if progress.exists() else 0
    engine = _float_engine(base, device, dtype)
    # Sorted as by `distill`, so that a second call continues at the same prompt.
    todo = sorted(todo, key=len)
    network = Network(engine.model)
    for count, rows in distill(
        network,
        engine.tokenizer,
        todo[done:],
        options,
        lambda n, total, kept: tell(f"{done + n} of {done + total} prompts, {kept} replies kept"),
    ):
        write_rows(out, rows, append=True)
        progress.write_text(str(done + count))
    return int(progress.read_text()) >= len(todo) if progress.exists() else not todo


def _float_engine(base: str, device: str, dtype: Dtype, adapter: Path | None = None) -> Engine:
    place = choose_device(device)
    if dtype == "auto":
        dtype = "float32" if place.type == "cpu" else "bfloat16"
    return Engine.load(base, dtype=dtype, device=device, adapter=adapter)


def make_trajectories(
    base: str,
    adapter: Path,
    data: Sequence[Path],
    out: Path,
    *,
    canvas: int,
    batch: int = 256,
    limit: int | None = None,
    seconds: float | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    system: str | None = SYSTEM,
    tell: Tell = lambda text: None,
) -> bool:
    """Write the adapted model's own trajectories for the prompts of `data` to `out`.

    Returns:
        Whether all prompts are done; a second call continues.
    """
    engine = _float_engine(base, device, dtype, adapter)
    prompts: dict[tuple[int, ...], None] = {}
    for path in data:
        examples = read_examples(
            path, engine.tokenizer, engine.config, system=system, longest=engine.context - canvas
        )
        prompts |= dict.fromkeys(example.prompt for example in examples)
    todo = sorted(list(prompts)[:limit], key=len)
    done = sum(1 for _ in read_rows(out)) if out.exists() else 0
    layers = None if engine.denoiser is None else engine.denoiser.canvas_layers
    network = Network(engine.model, canvas_layers=layers)
    for rows in record(
        network,
        todo[done:],
        canvas=canvas,
        batch=batch,
        seconds=seconds,
        tell=lambda n, total, kept: tell(f"{done + n} of {done + total} trajectories"),
    ):
        write_rows(out, rows, append=True)
    return sum(1 for _ in read_rows(out)) >= len(todo) if out.exists() else not todo


def evaluate(
    base: str,
    adapter: Path | None,
    *,
    steps: Sequence[int | str] = STEPS,
    limit: int | None = None,
    max_tokens: int = 32,
    system: str = SYSTEM,
    device: str = "auto",
    dtype: Dtype = "auto",
    threads: int | None = None,
    replies: Path | None = None,
    tell: Tell = lambda text: None,
) -> Iterator[Row]:
    """Rows of the base (`k` is `ar`) and of the adapted model for each number of steps.

    `adapter` None gives the base's row alone; `replies` is a file for the base's replies.
    """
    teacher = Engine.load(base, dtype=dtype, device=device, threads=threads)
    teacher.warm_up()
    evaluation = Evaluation(
        teacher, questions(limit), system=system, max_tokens=max_tokens, tell=tell
    )
    if replies is not None:
        write_rows(replies, answer_rows(evaluation.reference))
    yield evaluation.base_row()
    if adapter is None:
        return
    student = Engine.load(base, dtype=dtype, device=device, threads=threads, adapter=adapter)
    student.warm_up()
    yield from evaluation.rows(student, steps)


def finished_adapter(run: Path) -> Path:
    """Adapter of a run: its last checkpoint, or the directory itself if it is an adapter.

    Raises:
        OptionError: there is neither.
    """
    if (run / lora.SETTINGS).exists():
        return run
    place = latest(run)
    if place is None:
        raise OptionError(f"{run} holds neither an adapter nor a run.")
    return place


def export(base: str, run: Path, out: Path, config: dict[str, Any] | None = None) -> str:
    """Write the adapter of a run in bfloat16, half its size; returns the SHA-256 of the weights."""
    source = finished_adapter(run)
    settings = lora.read_denoiser(source)
    taught = {} if settings is None else {"mask_id": settings.mask_id}
    shape = checkpoint.find(base, {**taught, **(config or {})}).config
    lora.save(lora.load(source, shape), shape, out, Path(base).name, torch.bfloat16)
    return hashlib.sha256((out / lora.WEIGHTS).read_bytes()).hexdigest()
