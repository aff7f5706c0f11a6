"""What all ``onebreath adapt`` commands share: their engines, the base, progress."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.console import err, settings_from
from agent.errors import ConfigError

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


def engine(name: str) -> Any:
    # Imported by name, because the start of the program must not import torch.
    return importlib.import_module(f"dllm_core.adapt.{name}")


def base_of(model: str | None, config: Path | None) -> tuple[str, str]:
    """Path of the base model, and the agent's instructions."""
    from agent.runtime.engines import model_path

    settings = settings_from(config, {"responder": {"model": model}})
    source = model_path(settings.responder.model, lambda text: None)
    return str(source), settings.responder.instructions


def check_directory(path: Path) -> None:
    """Refuse a directory that cannot be made, before hours of work that should go there."""
    place = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ConfigError(f"{path} cannot be written to: name a directory with --out that can")


def report(text: str) -> None:
    err.print(text, highlight=False, soft_wrap=True)


def finish(done: bool) -> None:
    if not done:
        report("stopped at the time limit; run the same command again to resume")
        raise typer.Exit(3)


@contextmanager
def reading(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
