"""The ``onebreath adapt`` commands, which train and evaluate LoRA adapters for denoising."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.console import ConfigOption, JsonOption, ModelOption, err, out, settings_from
from agent.errors import ConfigError

adapt = typer.Typer(help="Train and evaluate LoRA adapters that teach a model to denoise.")

DeviceOption = Annotated[str, typer.Option(help="Device: cpu, cuda or auto.")]
DtypeOption = Annotated[str, typer.Option(help="Type of the weights: float32, bfloat16 or auto.")]
SecondsOption = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="Time limit in seconds; the same command resumes later (exit code 3). "
        "Default: no limit.",
    ),
]
DataArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Files of examples, one JSON object per line with prompt and reply, or messages.",
        exists=True,
    ),
]
PromptsArgument = Annotated[
    list[Path],
    typer.Argument(help="Files of prompts, one JSON object per line.", exists=True),
]
AdapterOutOption = Annotated[
    Path, typer.Option("--out", help="Directory of the training run and its checkpoints.")
]
RepliesOutOption = Annotated[Path, typer.Option("--out", help="File for the examples.")]
RecordOutOption = Annotated[Path, typer.Option("--out", help="File for the recorded replies.")]
DrafterOutOption = Annotated[
    Path, typer.Option("--out", help="Directory of recordings, training run and drafter.")
]
HeadOutOption = Annotated[Path, typer.Option("--out", help="File for the head.")]
HeadsOutOption = Annotated[Path, typer.Option("--out", help="File for the heads.")]
ExportOutOption = Annotated[Path, typer.Option("--out", help="Directory for the adapter.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Replies per batch.")]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Number of prompts to use. Default: all.")
]


def _engine(name: str) -> Any:
    # Imported by name, because the start of the program must not import torch.
    return importlib.import_module(f"dllm_core.adapt.{name}")


def _base(model: str | None, config: Path | None) -> tuple[str, str]:
    """Path of the base model, and the agent's instructions."""
    from agent.runtime.engines import model_path

    settings = settings_from(config, {"responder": {"model": model}})
    source = model_path(settings.responder.model, lambda text: None)
    return str(source), settings.responder.instructions


def _check_directory(path: Path) -> None:
    """Refuse a directory that cannot be made, before hours of work that should go there."""
    place = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ConfigError(f"{path} cannot be written to: name a directory with --out that can")


def _report(text: str) -> None:
    err.print(text, highlight=False, soft_wrap=True)


def _finish(done: bool) -> None:
    if not done:
        _report("stopped at the time limit; run the same command again to resume")
        raise typer.Exit(3)


@adapt.command()
def train(
    data: DataArgument,
    out_directory: AdapterOutOption = Path("adapter"),
    model: ModelOption = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of training steps.")] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Examples per step.")] = 16,
    rate: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 5e-4,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapter.")] = 32,
    canvas: Annotated[
        list[int] | None,
        typer.Option(help="Canvas length in tokens. May be repeated. Default: 32."),
    ] = None,
    layers: Annotated[
        list[int] | None,
        typer.Option(
            help="Index of a layer that the canvas runs through. May be repeated. "
            "Default: all layers."
        ),
    ] = None,
    commit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Train on recorded replies, committing this many tokens per step. "
            "Default: train to denoise.",
        ),
    ] = None,
    mask_token: Annotated[
        str | None, typer.Option(help="Token to use as the mask, for a base model without one.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Adapter or training run to start from. Default: none.")
    ] = None,
    longest: Annotated[
        int, typer.Option(min=8, help="Longest example in tokens; longer ones are left out.")
    ] = 512,
    recompute: Annotated[
        bool,
        typer.Option("--recompute", help="Recompute activations: less memory, a third more time."),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(help="Seed of the random generator (initial weights, batches, masks)."),
    ] = 0,
    seconds: SecondsOption = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the memory that training needs, and exit.")
    ] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    config: ConfigOption = None,
) -> None:
    """Train a LoRA adapter on prompts with replies, or resume the run in --out.

    Example: onebreath adapt train pairs.jsonl --out run --steps 2000 --seconds 3000
    """
    _check_directory(out_directory)
    tasks = _engine("tasks")
    source, instructions = _base(model, config)
    task = tasks.TrainTask(
        base=source,
        data=data,
        out=out_directory,
        options=_engine("train").TrainOptions(
            steps=steps, batch=batch, rate=rate, seed=seed, seconds=seconds
        ),
        collate=_engine("collate").CollateOptions(
            canvas_lengths=tuple(canvas or [32]), commit=commit
        ),
        system=instructions,
        rank=rank,
        canvas_layers=tuple(layers) if layers else None,
        mask_token=mask_token,
        start=None if start is None else tasks.finished_adapter(start),
        longest=longest,
        recompute=recompute,
        device=device,
        dtype=dtype,
    )
    if plan:
        out.print(tasks.plan(task).needed.describe(), highlight=False, soft_wrap=True)
        return
    _finish(_with_progress(tasks, task))
    out.print(f"adapter: {tasks.finished_adapter(out_directory)}", highlight=False)


@adapt.command()
def drafter(
    base: Annotated[
        str | None,
        typer.Argument(help="Model: a name, a GGUF file or a directory. Default: the responder's."),
    ] = None,
    out_directory: DrafterOutOption = Path("drafter"),
    prompts: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of your own prompts, one JSON object per line; repeatable. They make half "
            "of all first turns. Default: the bundled prompts alone.",
            exists=True,
        ),
    ] = None,
    stage: Annotated[
        str, typer.Option(help="Stage to run: record, train, pack, evaluate, or all of them.")
    ] = "all",
    conversations: Annotated[
        int, typer.Option(min=128, help="Number of conversations to record.")
    ] = 12_800,
    steps: Annotated[int, typer.Option(min=1, help="Number of training steps.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, help="Conversations per step.")] = 16,
    blocks: Annotated[int, typer.Option(min=1, help="Drafts per conversation and step.")] = 12,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 1.5e-3,
    precision: Annotated[
        str,
        typer.Option(
            help="Number format of the training's products: float32, bfloat16, or auto for "
            "bfloat16 on CPUs that have units for it."
        ),
    ] = "auto",
    words: Annotated[int, typer.Option(min=64, help="Number of tokens that it can draft.")] = 6144,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    seconds: SecondsOption = None,
    dtype: Annotated[
        str, typer.Option(help="Type of the base's weights: int4, int8, float32 or auto.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Train a drafter, with which a model writes several words per pass; resumes with --out."""
    if stage not in ("all", "record", "train", "pack", "evaluate"):
        raise typer.BadParameter(f"{stage} is no stage: use record, train, pack, evaluate or all.")
    if precision not in ("float32", "bfloat16", "auto"):
        raise typer.BadParameter(f"{precision} is no precision: use float32, bfloat16 or auto.")
    _check_directory(out_directory)
    source, instructions = _base(base, config)
    tasks, options = _engine("drafter.tasks"), _engine("drafter.options")
    own = _engine("tasks").read_prompts(prompts) if prompts else ()
    task = tasks.DrafterTask(
        base=source, out=out_directory, system=instructions, own=own,
        conversations=conversations, words=words, seconds=seconds, dtype=dtype, threads=threads,
        training=options.DraftTraining(
            steps=steps, batch=batch, blocks=blocks, rate=rate, seed=seed,
            precision=options.fast_precision() if precision == "auto" else precision,
        ),
    )  # fmt: skip
    _finish(tasks.make(task, stage, _report, lambda report: _report(report.describe())))


def _with_progress(tasks: Any, task: Any) -> bool:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task("loading", total=task.options.steps)

        def listen(report: Any) -> None:
            text = f"entropy {report.entropy:.3f}, accuracy {report.accuracy:.1%}"
            progress.update(bar, completed=report.step, description=text)

        done: bool = tasks.train(task, _report, listen)
    return done


@adapt.command("data")
def make_data(
    prompts: PromptsArgument,
    out_file: RepliesOutOption = Path("replies.jsonl"),
    model: ModelOption = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Replies sampled per prompt; the likeliest is kept.")
    ] = 1,
    batch: BatchOption = 64,
    max_tokens: Annotated[int, typer.Option(min=4, help="Longest reply in tokens.")] = 40,
    limit: LimitOption = None,
    seconds: SecondsOption = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
) -> None:
    """Generate training data: the base model's own replies to prompts.

    Prompts that the evaluation uses are left out.
    """
    source, instructions = _base(model, config)
    options = _engine("distill").DistillOptions(
        system=instructions, batch=batch, max_tokens=max_tokens, samples=samples, seconds=seconds
    )
    tasks = _engine("tasks")
    with err.status("loading") as status:
        done = tasks.make_data(
            source, prompts, out_file, options, limit=limit, device=device, tell=status.update
        )
    _finish(done)


@adapt.command()
def record(
    adapter: Annotated[Path, typer.Argument(help="Directory of an adapter or a training run.")],
    data: DataArgument,
    out_file: RecordOutOption = Path("trajectories.jsonl"),
    model: ModelOption = None,
    canvas: Annotated[int, typer.Option(min=2, help="Canvas length in tokens.")] = 32,
    batch: BatchOption = 64,
    limit: LimitOption = None,
    seconds: SecondsOption = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
) -> None:
    """Record the order in which an adapted model commits tokens, for train --commit."""
    source, instructions = _base(model, config)
    tasks = _engine("tasks")
    with err.status("loading") as status:
        done = tasks.make_trajectories(
            source, tasks.finished_adapter(adapter), data, out_file, canvas=canvas, batch=batch,
            limit=limit, seconds=seconds, device=device, system=instructions, tell=status.update,
        )  # fmt: skip
    _finish(done)


@adapt.command()
def evaluate(
    adapter: Annotated[
        Path | None,
        typer.Argument(
            help="Directory of an adapter or a training run. Default: the base model alone."
        ),
    ] = None,
    model: ModelOption = None,
    steps: Annotated[
        list[str] | None,
        typer.Option(
            help="Steps per canvas: a number or one_per_step. May be repeated. "
            "Default: 4, 8, 16, 32 and one_per_step."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Questions of each kind. Default: all.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=4, help="Longest reply in tokens.")] = 32,
    replies: Annotated[
        Path | None,
        typer.Option(help="File to keep the base model's replies in. Default: not kept."),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the model. Default: torch's choice.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate an adapted model by number of denoising steps, beside its base model.

    Reports correct facts, degenerate replies, relative perplexity, proper endings and time.
    """
    from agent.cli.tables import rows_table

    source, instructions = _base(model, config)
    tasks = _engine("tasks")
    chosen = tuple(k if not k.isdigit() else int(k) for k in steps) if steps else tasks.STEPS
    unknown = [k for k in chosen if isinstance(k, str) and k not in tasks.STEPS]
    if unknown:
        raise typer.BadParameter(f"--steps must be a number or one_per_step, not {unknown[0]}")
    rows = []
    with err.status("loading") as status:
        for row in tasks.evaluate(
            source, None if adapter is None else tasks.finished_adapter(adapter), steps=chosen,
            limit=limit, max_tokens=max_tokens, system=instructions, device=device, dtype=dtype,
            threads=threads, replies=replies, tell=status.update,
        ):  # fmt: skip
            rows.append(row)
            if as_json:
                print(json.dumps(row), flush=True)
    if not as_json:
        out.print(rows_table(rows))


@adapt.command()
def turns(
    data: DataArgument,
    out_file: HeadOutOption = Path("turn_head.safetensors"),
    model: ModelOption = None,
    limit: Annotated[
        int | None, typer.Option(min=10, help="Plain utterances taken of each file.")
    ] = 6000,
    seed: Annotated[int, typer.Option(help="Seed of the choice and the cuts.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the head that tells whole turns from unfinished ones by the model's own state.

    Takes minutes on a CPU. Set responder.turn_head to the file to use it.
    """
    from dataclasses import asdict

    source, instructions = _base(model, config)
    fit = _engine("turn_fit")
    with _reading("utterances") as listen:
        quality = fit.make_turn_head(
            source, data, out_file, instructions, limit=limit, seed=seed, tell=listen
        )
    if as_json:
        print(json.dumps(asdict(quality)), flush=True)
        return
    out.print(quality.describe(), highlight=False, soft_wrap=True)
    out.print(f"head: {out_file} (sha256 {fit.digest(out_file)})", highlight=False, soft_wrap=True)


@adapt.command()
def decisions(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Files of examples, one JSON object per line with text, answer and perhaps "
            "question.",
            exists=True,
        ),
    ],
    out_file: HeadsOutOption = Path("decisions.safetensors"),
    model: ModelOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit heads that answer questions about the caller's words by the prompt cache alone.

    Takes seconds on a CPU; five examples of each answer suffice, twenty are good. Set
    decisions.heads to the file to use it.

    Example: onebreath adapt decisions intents.jsonl --out intents.safetensors
    """
    source, instructions = _base(model, config)
    fit = importlib.import_module("dllm_core.tasks.decision_fit")
    with _reading("examples") as listen:
        rows = fit.make_heads(
            source, data, out_file, instructions, seed=seed, threads=threads, tell=listen
        )
    for row in rows:
        text = row.pop("text")
        if as_json:
            print(json.dumps(row), flush=True)
        else:
            out.print(text, highlight=False, soft_wrap=True)
    if not as_json:
        out.print(f"heads: {out_file}", highlight=False, soft_wrap=True)


@contextmanager
def _reading(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@adapt.command()
def plot(
    run: Annotated[Path, typer.Argument(help="Directory of a training run.")],
    picture: Annotated[
        Path, typer.Option("--out", help="File for the plot: PNG, SVG or PDF.")
    ] = Path("loss.png"),
) -> None:
    """Plot the loss of a training run.

    Needs matplotlib, from the extra `adapt`.
    """
    _engine("plot").plot_log(run / "log.jsonl", picture)
    out.print(str(picture), highlight=False)


@adapt.command()
def export(
    run: Annotated[Path, typer.Argument(help="Directory of a training run.")],
    out_directory: ExportOutOption,
    model: ModelOption = None,
    config: ConfigOption = None,
) -> None:
    """Export the adapter of a training run in bfloat16 and print its SHA-256."""
    _check_directory(out_directory)
    source, _ = _base(model, config)
    out.print(_engine("tasks").export(source, run, out_directory), highlight=False)
