"""The commands that adapt a model: data, train, record, evaluate, plot, export, and turns."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.console import ConfigOption, JsonOption, ModelOption, err, out, settings_from

adapt = typer.Typer(help="Teach a model to denoise, and see how well it does.")

DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
DtypeOption = Annotated[str, typer.Option(help="float32, bfloat16 or auto.")]
SecondsOption = Annotated[
    float | None, typer.Option(min=1, help="Stop after this; the same command goes on later.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Where the result goes.")]
DataArgument = Annotated[list[Path], typer.Argument(help="JSON lines.", exists=True)]


def _engine(name: str) -> Any:
    # By name: what starts the program must not reach torch.
    return importlib.import_module(f"dllm_core.adapt.{name}")


def _base(model: str | None, config: Path | None) -> tuple[str, str]:
    """Path of the model to adapt, and the agent's instructions."""
    from agent.runtime.engines import model_path

    settings = settings_from(config, {"responder": {"model": model}})
    source = model_path(settings.responder.model, lambda text: None)
    return str(source), settings.responder.instructions


def _tell(text: str) -> None:
    err.print(text, highlight=False, soft_wrap=True)


def _finish(done: bool) -> None:
    if not done:
        _tell("time is up: call the same command again to go on")
        raise typer.Exit(3)


@adapt.command()
def train(
    data: DataArgument,
    out_directory: OutOption = Path("adapter"),
    model: ModelOption = None,
    steps: Annotated[int, typer.Option(min=1)] = 1000,
    batch: Annotated[int, typer.Option(min=1, help="Examples a step.")] = 16,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 5e-4,
    rank: Annotated[int, typer.Option(min=1, help="Of the adapter.")] = 32,
    canvas: Annotated[list[int] | None, typer.Option(help="May be repeated.")] = None,
    layers: Annotated[
        list[int] | None, typer.Option(help="Layers the canvas runs through; may be repeated.")
    ] = None,
    commit: Annotated[
        int | None, typer.Option(min=1, help="Learn recorded replies, so many tokens a step.")
    ] = None,
    mask_token: Annotated[str | None, typer.Option(help="For a base that has none.")] = None,
    start: Annotated[Path | None, typer.Option(help="An adapter to go on from.")] = None,
    longest: Annotated[int, typer.Option(min=8, help="Tokens of an example.")] = 512,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Less memory, a third more time.")
    ] = False,
    seed: int = 0,
    seconds: SecondsOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the memory and stop.")] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    config: ConfigOption = None,
) -> None:
    """Train a LoRA adapter on prompts with replies; resumes what is in --out."""
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


def _with_progress(tasks: Any, task: Any) -> bool:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task("loading", total=task.options.steps)

        def listen(report: Any) -> None:
            text = f"entropy {report.entropy:.3f}, right {report.accuracy:.1%}"
            progress.update(bar, completed=report.step, description=text)

        done: bool = tasks.train(task, _tell, listen)
    return done


@adapt.command("data")
def make_data(
    prompts: DataArgument,
    out_file: OutOption = Path("replies.jsonl"),
    model: ModelOption = None,
    samples: Annotated[int, typer.Option(min=1, help="Draws; the likeliest stays.")] = 1,
    batch: Annotated[int, typer.Option(min=1)] = 64,
    max_tokens: Annotated[int, typer.Option(min=4)] = 40,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts.")] = None,
    seconds: SecondsOption = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
) -> None:
    """Training data in the model's own words; prompts of the evaluation are left out."""
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
    adapter: Annotated[Path, typer.Argument(help="An adapter or a run.")],
    data: DataArgument,
    out_file: OutOption = Path("trajectories.jsonl"),
    model: ModelOption = None,
    canvas: Annotated[int, typer.Option(min=2)] = 32,
    batch: Annotated[int, typer.Option(min=1)] = 64,
    limit: Annotated[int | None, typer.Option(min=1, help="Prompts.")] = None,
    seconds: SecondsOption = None,
    device: DeviceOption = "auto",
    config: ConfigOption = None,
) -> None:
    """Record how an adapted model denoises, for training with --commit."""
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
    adapter: Annotated[Path | None, typer.Argument(help="An adapter or a run; none: base.")] = None,
    model: ModelOption = None,
    steps: Annotated[list[str] | None, typer.Option(help="4, 8, ... or one_per_step.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions of each kind.")] = None,
    max_tokens: Annotated[int, typer.Option(min=4)] = 32,
    replies: Annotated[Path | None, typer.Option(help="File for the base's replies.")] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Facts, loops, perplexity, endings and time by number of steps, beside the base's replies."""
    from agent.cli.tables import rows_table

    source, instructions = _base(model, config)
    tasks = _engine("tasks")
    chosen = tuple(k if not k.isdigit() else int(k) for k in steps) if steps else tasks.STEPS
    unknown = [k for k in chosen if isinstance(k, str) and k not in tasks.STEPS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]} is neither a number nor one_per_step")
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
    out_file: OutOption = Path("turn_head.safetensors"),
    model: ModelOption = None,
    limit: Annotated[
        int | None, typer.Option(min=10, help="Plain utterances taken of each file.")
    ] = 6000,
    seed: int = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the head that tells whole turns from unfinished ones by the model's own state.

    Takes minutes on a CPU. Set responder.turn_head to the file to use it.
    """
    from dataclasses import asdict

    source, instructions = _base(model, config)
    fit = _engine("turn_fit")
    with _turns_progress() as listen:
        quality = fit.make_turn_head(
            source, data, out_file, instructions, limit=limit, seed=seed, tell=listen
        )
    if as_json:
        print(json.dumps(asdict(quality)), flush=True)
        return
    out.print(quality.describe(), highlight=False, soft_wrap=True)
    out.print(f"head: {out_file} (sha256 {fit.digest(out_file)})", highlight=False, soft_wrap=True)


@contextmanager
def _turns_progress() -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task("utterances", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@adapt.command()
def plot(
    run: Annotated[Path, typer.Argument(help="Directory of a training run.")],
    picture: Annotated[Path, typer.Option("--out", help="PNG, SVG or PDF.")] = Path("loss.png"),
) -> None:
    """Draw the loss of a run; needs matplotlib (the extra `adapt`)."""
    _engine("plot").plot_log(run / "log.jsonl", picture)
    out.print(str(picture), highlight=False)


@adapt.command()
def export(
    run: Annotated[Path, typer.Argument(help="Directory of a training run.")],
    out_directory: OutOption,
    model: ModelOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a run's adapter in bfloat16, to be shipped, and print its SHA-256."""
    source, _ = _base(model, config)
    out.print(_engine("tasks").export(source, run, out_directory), highlight=False)
