"""The ``onebreath adapt`` commands, which train and evaluate LoRA adapters for denoising."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.adapt_common import (
    DataArgument,
    SecondsOption,
    base_of,
    check_directory,
    engine,
    finish,
    report,
)
from agent.cli.adapt_heads import decisions, drafter, turns
from agent.cli.console import ConfigOption, JsonOption, ModelOption, err, out
from agent.cli.groups import Commands
from agent.cli.places import check_file

adapt = typer.Typer(
    cls=Commands, help="Train and evaluate LoRA adapters that teach a model to denoise."
)

DeviceOption = Annotated[str, typer.Option(help="Device: cpu, cuda or auto.")]
DtypeOption = Annotated[str, typer.Option(help="Type of the weights: float32, bfloat16 or auto.")]
PromptsArgument = Annotated[
    list[Path],
    typer.Argument(help="Files of prompts, one JSON object per line.", exists=True),
]
AdapterOutOption = Annotated[
    Path, typer.Option("--out", help="Directory of the training run and its checkpoints.")
]
RepliesOutOption = Annotated[Path, typer.Option("--out", help="File for the examples.")]
RecordOutOption = Annotated[Path, typer.Option("--out", help="File for the recorded replies.")]
ExportOutOption = Annotated[Path, typer.Option("--out", help="Directory for the adapter.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Replies per batch.")]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help="Number of prompts to use. Default: all.")
]


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
    check_directory(out_directory)
    tasks = engine("tasks")
    source, instructions = base_of(model, config)
    task = tasks.TrainTask(
        base=source,
        data=data,
        out=out_directory,
        options=engine("train").TrainOptions(
            steps=steps, batch=batch, rate=rate, seed=seed, seconds=seconds
        ),
        collate=engine("collate").CollateOptions(
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
    finish(_with_progress(tasks, task))
    out.print(f"adapter: {tasks.finished_adapter(out_directory)}", highlight=False)


def _with_progress(tasks: Any, task: Any) -> bool:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task("loading", total=task.options.steps)

        def listen(report: Any) -> None:
            text = f"entropy {report.entropy:.3f}, accuracy {report.accuracy:.1%}"
            progress.update(bar, completed=report.step, description=text)

        done: bool = tasks.train(task, report, listen)
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
    source, instructions = base_of(model, config)
    options = engine("distill").DistillOptions(
        system=instructions, batch=batch, max_tokens=max_tokens, samples=samples, seconds=seconds
    )
    tasks = engine("tasks")
    with err.status("loading") as status:
        done = tasks.make_data(
            source, prompts, out_file, options, limit=limit, device=device, tell=status.update
        )
    finish(done)


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
    source, instructions = base_of(model, config)
    tasks = engine("tasks")
    with err.status("loading") as status:
        done = tasks.make_trajectories(
            source, tasks.finished_adapter(adapter), data, out_file, canvas=canvas, batch=batch,
            limit=limit, seconds=seconds, device=device, system=instructions, tell=status.update,
        )  # fmt: skip
    finish(done)


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
    from agent.cli.tables import RowsTable

    source, instructions = base_of(model, config)
    tasks = engine("tasks")
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
        out.print(RowsTable(rows))


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
    check_file(picture)
    engine("plot").plot_log(run / "log.jsonl", picture)
    out.print(str(picture), highlight=False)


@adapt.command()
def export(
    run: Annotated[Path, typer.Argument(help="Directory of a training run.")],
    out_directory: ExportOutOption,
    model: ModelOption = None,
    config: ConfigOption = None,
) -> None:
    """Export the adapter of a training run in bfloat16 and print its SHA-256."""
    check_directory(out_directory)
    source, _ = base_of(model, config)
    out.print(engine("tasks").export(source, run, out_directory), highlight=False)


for command in (drafter, turns, decisions):
    adapt.command()(command)
