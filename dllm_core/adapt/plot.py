"""Plots of training runs; need matplotlib, the extra `adapt`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dllm_core.errors import DataError, OptionError
from dllm_core.json_lines import read_rows


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Running mean over each value and up to `window` - 1 values before it."""
    found = []
    for i in range(1, len(values) + 1):
        part = values[max(0, i - window) : i]
        found.append(sum(part) / len(part))
    return found


def plot_log(log: Path, picture: Path) -> None:
    """Draw the measurements of a run.

    For an adapter: cross-entropy and accuracy of hidden words by step. For a drafter: tokens a
    pass and the share of right first tokens by minute of training.

    Raises:
        OptionError: matplotlib is not installed.
        DataError: the log is missing or empty.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OptionError(
            "A plot needs matplotlib; install it: "
            f"{sys.executable} -m pip install 'matplotlib>=3.9'"
        ) from error
    rows = [row for _, row in read_rows(log)]
    if not rows:
        raise DataError(f"{log} holds no step yet.")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.subplots()
    (_draw_drafter if "tokens_a_pass" in rows[0] else _draw_adapter)(left, left.twinx(), rows)
    figure.savefig(picture, dpi=120)


def _draw_adapter(left: Any, right: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    steps = [row["step"] for row in rows]
    window = max(1, len(rows) // 50)
    for axis, key, name, color in (
        (left, "entropy", "cross-entropy of hidden words [nats]", "tab:blue"),
        (right, "accuracy", "hidden words guessed right", "tab:orange"),
    ):
        values = [row[key] for row in rows]
        axis.plot(steps, values, color=color, alpha=0.2, linewidth=0.8)
        axis.plot(steps, smoothed(values, window), color=color, linewidth=1.6)
        axis.set_ylabel(name, color=color)
    left.set_xlabel("step")
    right.set_ylim(0, 1)


def _draw_drafter(left: Any, right: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    minutes = [row["seconds"] / 60 for row in rows]
    for axis, values, name, color in (
        (left, [row["tokens_a_pass"] for row in rows], "held-out tokens a pass", "tab:blue"),
        (right, [row["right"][0] for row in rows], "first token right", "tab:orange"),
    ):
        axis.plot(minutes, values, color=color, marker=".")
        axis.set_ylabel(name, color=color)
    left.set_xlabel("minutes of training")
    right.set_ylim(0, 1)
