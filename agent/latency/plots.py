"""Pictures of runs. Needs matplotlib, which only reports use."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import ConfigError
from agent.latency.estimate import PERCENTILES, quantile
from agent.latency.results import TurnResult
from agent.latency.rows import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (9.0, 3.6)
"""Inches."""
MAX_BARS = 60
"""Turns that a waterfall shows; more would be hair."""
MARKED = ("p50", "p95", "p99")


def pictures(runs: Sequence[Run]) -> dict[str, bytes]:
    """PNG files by name: how latency is distributed, over time, and where it goes."""
    drawn: Mapping[str, Callable[[Sequence[Run]], Figure]] = {
        "histogram": histogram,
        "timeline": timeline,
        "waterfall": waterfall,
    }
    return {name: _png(draw(runs)) for name, draw in drawn.items()}


def histogram(runs: Sequence[Run]) -> Figure:
    """How often each latency occurred, on one scale for all runs."""
    figure = _figure()
    axes = figure.add_subplot()
    totals = {run.name: _totals(run) for run in runs}
    everything = np.concatenate(list(totals.values()))
    if not len(everything):
        return _nothing(figure)
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


def timeline(runs: Sequence[Run]) -> Figure:
    """Every turn in the order in which it ended: drift, stalls, warm-up that was too short."""
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


def waterfall(runs: Sequence[Run]) -> Figure:
    """Where the time of each turn of the first run went, the slowest at the bottom."""
    figure = _figure()
    axes = figure.add_subplot()
    rows = sorted(
        (row for row in _counted(runs[0]) if row.spans and row.total_ms is not None),
        key=lambda row: row.total_ms or 0.0,
    )
    if not rows:
        return _nothing(figure)
    shown = rows[:: -(-len(rows) // MAX_BARS)]
    places = np.arange(len(shown))
    # What was late before the question began comes first, then the spans in their order.
    left = np.asarray([row.late_ms for row in shown])
    if left.any():
        axes.barh(places, left, color="lightgrey", label="late")
    for colour, span in enumerate(dict.fromkeys(name for row in shown for name in row.spans)):
        width = np.asarray([max(0.0, row.spans.get(span, 0.0)) for row in shown])
        axes.barh(places, width, left=left, color=f"C{colour}", label=span)
        left = left + width
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set(xlabel="ms", ylabel="turns, fastest first", title=f"Where it goes: {runs[0].name}")
    figure.legend(fontsize=8, ncols=8, loc="outside lower center")
    return figure


def _counted(run: Run) -> list[TurnResult]:
    return [row for row in run.rows if not row.warmup]


def _totals(run: Run) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    totals = [row.total_ms for row in _counted(run)]
    return np.asarray([total for total in totals if total is not None], np.float64)


def _columns(pairs: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [at for at, _ in pairs], [value for _, value in pairs]


def _figure() -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(
            "plots need matplotlib; install the extra: pip install -e '.[lab]'"
        ) from None
    return Figure(figsize=SIZE, layout="constrained", dpi=120)


def _nothing(figure: Figure) -> Figure:
    figure.text(0.5, 0.5, "no turn has this", ha="center")
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
