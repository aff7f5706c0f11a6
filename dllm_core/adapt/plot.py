"""Plot of a run's loss and accuracy; needs matplotlib, the extra `adapt`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dllm_core.adapt.examples import read_rows
from dllm_core.errors import DataError, OptionError


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Running mean over each value and up to `window` - 1 values before it."""
    found = []
    for i in range(1, len(values) + 1):
        part = values[max(0, i - window) : i]
        found.append(sum(part) / len(part))
    return found


def plot_log(log: Path, picture: Path) -> None:
    """Draw cross-entropy and accuracy of hidden words over the steps of a run.

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
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
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
    figure.savefig(picture, dpi=120)
