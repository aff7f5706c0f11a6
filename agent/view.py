"""What the terminal shows: tables, a turn, the canvas while it is denoised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.bench import Figure
from agent.catalogue import Model
from agent.engines import Loaded
from agent.latency.results import TurnResult
from agent.reply import CanvasStep

MASK = "░░"


def loaded_table(table: Iterable[Loaded]) -> Table:
    """What was loaded, how large it is, how long it took."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stage", "engine", "model"):
        view.add_column(column)
    for column in ("size", "load", "threads"):
        view.add_column(column, justify="right")
    for row in table:
        size = f"{row.size / 1e6:.0f} MB" if row.size else "-"
        view.add_row(
            row.stage, row.engine, row.model, size, f"{row.seconds:.1f} s", str(row.threads)
        )
    return view


def turn_lines(result: TurnResult) -> list[Text]:
    """One turn: words and where the time went."""
    lines = [
        Text.assemble(("caller  ", "bold cyan"), result.heard or "(nothing)"),
        Text.assemble(("agent   ", "bold green"), result.answered or "(nothing)"),
    ]
    if result.voice_to_voice_ms is not None:
        total = f"{result.voice_to_voice_ms:.0f} ms voice to voice"
        spans = "  ".join(f"{name} {span:.0f}" for name, span in result.spans.items())
        lines.append(Text.assemble((f"        {total}", "bold"), f"  = {spans}" if spans else ""))
    if result.error:
        lines.append(Text(f"        {result.error}", style="red"))
    return lines


def canvas_text(step: CanvasStep) -> Text:
    """The canvas after one step: masks are grey, words brighten with confidence."""
    planned = f"/{step.of}" if step.of else ""
    line = Text(f"step {step.step:>3}{planned}  ", style="dim")
    for token, masked, confidence in zip(step.tokens, step.masked, step.confidence, strict=True):
        if masked and not token:
            line.append(MASK + " ", style="grey35")
        elif masked:
            line.append(token, style="grey50 italic")
        else:
            line.append(token, style="bold" if confidence > 0.5 else "yellow")
    return line


def canvas_view(done: str, steps: Sequence[CanvasStep]) -> RenderableType:
    """The reply so far over the newest canvases."""
    return Group(Text(done or " ", style="bold green"), *(canvas_text(s) for s in steps[-12:]))


def models_table(chosen: Sequence[Model], problems: Mapping[str, Sequence[str]]) -> Table:
    """The default models and whether their files are whole."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("model", "role", "size", "licence", "state"):
        view.add_column(column, justify="right" if column == "size" else "left")
    for model in chosen:
        found = problems[model.name]
        state = Text("damaged or missing", "red") if found else Text("verified", "green")
        view.add_row(model.name, model.role, f"{model.size / 1e6:.0f} MB", model.licence, state)
    return view


def bench_table(figures: Iterable[Figure]) -> Table:
    """Figures beside their targets."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    view.add_column("figure")
    for column in ("median", "worst", "n", "target"):
        view.add_column(column, justify="right")
    for figure in figures:
        style = {True: "green", False: "red", None: ""}[figure.met]
        view.add_row(
            figure.name,
            Text(f"{figure.value:g} {figure.unit}", style),
            f"{figure.worst:g}",
            str(figure.n),
            "" if figure.target is None else f"{figure.target:g}",
        )
    return view


def rows_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Rows of figures as they come, a column for every key."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        view.add_column(column, justify="right")
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        view.add_row(*(f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells))
    return view


def contest_table(summaries: Iterable[Mapping[str, Any]]) -> Table:
    """Responders beside each other; times are median and p95."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    view.add_column("responder", overflow="fold")
    for column in ("clause ms", "reply ms", "tok/s", "tok/step", "J/tok", "per 1000", "right", "n"):
        view.add_column(column, justify="right")
    for row in summaries:
        view.add_row(
            row["responder"],
            _pair(row, "first_clause_ms"),
            _pair(row, "whole_ms"),
            _number(row["tokens_per_second"]),
            _number(row["tokens_per_forward"]),
            _number(row["joules_per_token"]),
            _number(row["cost_per_1000"]),
            f"{row['right']}/{row['checked']}" if row["checked"] else "-",
            str(row["replies"]),
        )
    return view


def _pair(row: Mapping[str, Any], name: str) -> str:
    return f"{_number(row[f'{name}_p50'], 0)} {_number(row[f'{name}_p95'], 0)}"


def _number(value: float | None, digits: int = 2) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def complain(console: Console, message: str) -> None:
    """An error the user can do something about."""
    console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
