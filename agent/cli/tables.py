"""Terminal output: tables, turns, progress, and the canvas while it is denoised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    JustifyMethod,
    RenderableType,
    RenderResult,
)
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from agent.bench.figures import Figure
from agent.latency.compare import Ratio
from agent.latency.estimate import PERCENTILES
from agent.latency.results import TurnResult
from agent.latency.summary import Summary
from agent.models.catalogue import Model
from agent.reply import CanvasStep
from agent.runtime.engines import LoadedEngine

MASK = "░░"
WITH_INTERVAL = ("p50", "p95")
"""Percentiles whose confidence intervals fit into the terminal."""


def loaded_table(table: Iterable[LoadedEngine]) -> Table:
    """Table of the loaded engines with model, size, load time and threads."""
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
    """Lines for one turn: words, latency and spans."""
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
    """Line for the canvas after one step: grey masks, words brighter with confidence."""
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
    """View of the reply so far above the newest canvases."""
    return Group(Text(done or " ", style="bold green"), *(canvas_text(s) for s in steps[-12:]))


def models_table(chosen: Sequence[Model], problems: Mapping[str, Sequence[str]]) -> Table:
    """Table of models with the state of their files.

    Args:
        chosen: models to list.
        problems: problems of each model by name.
    """
    view = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("model", "role", "size", "licence", "state"):
        justify: JustifyMethod = "right" if column == "size" else "left"
        # A name is to be copied.
        view.add_column(column, justify=justify, overflow="fold", no_wrap=column == "model")
    for model in chosen:
        found = problems[model.name]
        state = Text("damaged or missing", "red") if found else Text("verified", "green")
        view.add_row(model.name, model.role, f"{model.size / 1e6:.0f} MB", model.licence, state)
    return view


def bench_table(figures: Iterable[Figure]) -> Table:
    """Table of figures beside their targets."""
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


class RowsTable:
    """Table of rows with a column for every key; where those do not fit, several tables.

    Each of these begins with the columns of words that begin the rows, such as their names.

    Args:
        rows: the rows.
    """

    GAP = 2
    """Blanks between two columns."""

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        names = dict.fromkeys(key for row in rows for key in row)
        self._columns = {name: [_cell(row.get(name)) for row in rows] for name in names}
        words = (name for name in names if all(isinstance(row.get(name), str) for row in rows))
        self._names = [name for name, word in zip(names, words, strict=False) if name == word]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        for i, chosen in enumerate(self._parts(options.max_width)):
            if i:
                yield ""
            yield self._table(chosen)

    def _table(self, chosen: Sequence[str]) -> Table:
        view = Table(box=None, header_style="bold", pad_edge=False, padding=(0, self.GAP, 0, 0))
        for name in chosen:
            view.add_column(name, justify="right")
        for cells in zip(*(self._columns[name] for name in chosen), strict=True):
            view.add_row(*cells)
        return view

    def _parts(self, width: int) -> list[list[str]]:
        """The columns of each table."""
        room = width - sum(map(self._width, self._names))
        parts, used = [list(self._names)], 0
        for name in self._columns:
            if name in self._names:
                continue
            if used and used + self._width(name) > room:
                parts, used = [*parts, list(self._names)], 0
            parts[-1].append(name)
            used += self._width(name)
        return parts

    def _width(self, name: str) -> int:
        return self.GAP + max(map(cell_len, [name, *self._columns[name]]))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def run_progress(console: Console) -> Progress:
    """Progress bar of a run."""
    return Progress(
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def summary_view(summary: Summary, wer: float | None) -> RenderableType:
    """View of a summary: percentiles with their intervals, errors and checks."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    view.add_column("ms", no_wrap=True)
    for column in ("n", *PERCENTILES):
        view.add_column(column, justify="right")
        if column in WITH_INTERVAL:
            view.add_column("95 %", style="dim", no_wrap=True)
    for figure, found in summary.figures.items():
        cells = [figure, str(summary.samples[figure])]
        for name, estimate in found.items():
            cells.append(f"{estimate.value:.0f}")
            if name in WITH_INTERVAL:
                cells.append(f"{estimate.low:.0f}-{estimate.high:.0f}")
        view.add_row(*cells)
    return Group(view, "", *_remarks(summary, wer))


def _remarks(summary: Summary, wer: float | None) -> list[Text]:
    lines = [Text(f"{summary.turns} turns, {summary.failed} with errors")]
    if summary.unanswered:
        note = f"{summary.unanswered} of them unanswered, counted with the time that was waited"
        lines.append(Text(note, style="yellow"))
    lines += [
        Text(f"{count} x {message}", style="red") for message, count in summary.errors.items()
    ]
    if summary.checked:
        lines.append(Text(f"{summary.passed} of {summary.checked} checked answers right"))
    if wer is not None:
        lines.append(Text(f"word error rate {wer:.1%}"))
    if summary.too_busy:
        warning = (
            "this machine is too busy: the caller sent its audio late, the figures are invalid"
        )
        lines.append(Text(warning, style="bold red"))
    return lines


def comparison_table(ratios: Sequence[Ratio], first: str, second: str) -> Table:
    """Table of the ratios of the second run to the first."""
    view = Table(box=None, header_style="bold", pad_edge=False)
    words = ("figure", "", "verdict")
    for column in ("figure", "", first, second, "ratio", "99 %", "verdict"):
        view.add_column(
            column,
            justify="left" if column in words else "right",
            no_wrap=column not in (first, second),
        )
    for ratio in ratios:
        style = {"faster": "green", "slower": "red"}.get(ratio.verdict, "dim")
        view.add_row(
            ratio.figure,
            ratio.percentile,
            f"{ratio.first:.0f} ms",
            f"{ratio.second:.0f} ms",
            f"{ratio.ratio:.2f}",
            f"{ratio.low:.2f}-{ratio.high:.2f}",
            Text(ratio.verdict, style),
        )
    return view


def contest_table(summaries: Iterable[Mapping[str, Any]]) -> Table:
    """Table that compares responders; times are median and p95 in milliseconds."""
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


def print_error(console: Console, message: str) -> None:
    """Print an error that the user can put right."""
    console.print(Text.assemble(("error: ", "bold red"), message), soft_wrap=True)
