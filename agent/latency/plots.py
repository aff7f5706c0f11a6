"""Plots of runs. They need matplotlib, which only reports use."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import ConfigError
from agent.extras import install
from agent.latency.estimate import PERCENTILES, quantile
from agent.latency.results import TurnResult
from agent.latency.rows import RecordedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (9.0, 3.6)
"""Width and height of a plot in inches."""
MAX_BARS = 60
"""Most turns in a waterfall; more bars would be too thin to read."""
MARKED = ("p50", "p95", "p99")
"""Percentiles marked in the histogram."""


def draw_plots(runs: Sequence[RecordedRun]) -> dict[str, bytes]:
    """Draw the histogram, timeline and waterfall; return PNG files by name.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    drawn: Mapping[str, Callable[[Sequence[RecordedRun]], Figure]] = {
        "histogram": histogram,
        "timeline": timeline,
        "waterfall": waterfall,
    }
    return {name: _png(draw(runs)) for name, draw in drawn.items()}


def histogram(runs: Sequence[RecordedRun]) -> Figure:
    """Draw the distribution of latency, on one scale for all runs."""
    figure = _figure()
    axes = figure.add_subplot()
    totals = {run.name: _totals(run) for run in runs}
    everything = np.concatenate(list(totals.values()))
    if not len(everything):
        return _without_data(figure)
    bins = np.histogram_bin_edges(everything, bins="auto")
    for place, (name, values) in enumerate(totals.items()):
        colour = f"C{place}"
        axes.hist(values, bins=list(bins), alpha=0.55, color=colour, label=name)
        for percentile in MARKED if len(values) else ():
            at = float(quantile(values, PERCENTILES[percentile]))
            axes.axvline(at, color=colour, linewidth=1, linestyle="--")
            axes.annotate(
                percentile,
                (at, 1 - 0.06 * place),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                color=colour,
                rotation=90,
                va="top",
            )
    axes.set(xlabel="latency (ms)", ylabel="turns", title="Distribution")
    axes.legend(fontsize=8)
    return figure


def timeline(runs: Sequence[RecordedRun]) -> Figure:
    """Draw the latency of every turn in order, which shows drift, stalls and a short warm-up."""
    figure = _figure()
    axes = figure.add_subplot()
    for place, run in enumerate(runs):
        rows = _counted(run)
        known = [(at, row.total_ms) for at, row in enumerate(rows) if row.total_ms is not None]
        axes.plot(*_columns(known), ".", color=f"C{place}", label=run.name)
        failed = [(at, row.total_ms or 0.0) for at, row in enumerate(rows) if row.error is not None]
        axes.plot(*_columns(failed), "x", color="red")
    axes.set(xlabel="turn", ylabel="latency (ms)", title="Over time (red: with an error)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return figure


def waterfall(runs: Sequence[RecordedRun]) -> Figure:
    """Draw the spans of each turn of the first run, the slowest turn at the bottom."""
    figure = _figure()
    axes = figure.add_subplot()
    rows = sorted(
        (row for row in _counted(runs[0]) if row.spans and row.total_ms is not None),
        key=lambda row: row.total_ms or 0.0,
    )
    if not rows:
        return _without_data(figure)
    shown = rows[:: -(-len(rows) // MAX_BARS)]
    places = np.arange(len(shown))
    # The lateness of the question comes first, then the spans in their order.
    left = np.asarray([row.late_ms for row in shown])
    if left.any():
        axes.barh(places, left, color="lightgrey", label="late")
    for colour, span in enumerate(dict.fromkeys(name for row in shown for name in row.spans)):
        width = np.asarray([max(0.0, row.spans.get(span, 0.0)) for row in shown])
        axes.barh(places, width, left=left, color=f"C{colour}", label=span)
        left = left + width
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set(xlabel="ms", ylabel="turns, fastest first", title=f"Spans of {runs[0].name}")
    figure.legend(fontsize=8, ncols=8, loc="outside lower center")
    return figure


def _counted(run: RecordedRun) -> list[TurnResult]:
    return [row for row in run.rows if not row.warmup]


def _totals(run: RecordedRun) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    totals = [row.total_ms for row in _counted(run)]
    return np.asarray([total for total in totals if total is not None], np.float64)


def _columns(pairs: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [at for at, _ in pairs], [value for _, value in pairs]


def _figure() -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(f"plots need matplotlib; install it: {install('lab')}") from None
    return Figure(figsize=SIZE, layout="constrained", dpi=120)


def _without_data(figure: Figure) -> Figure:
    figure.text(0.5, 0.5, "no turn has this figure", ha="center")
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
