"""The figures of the ``onebreath bench`` commands, as tables or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.console import out
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.bench.figures import Figure


def show_figures(figures: Sequence[Figure], as_json: bool) -> None:
    """Print figures with their bounds as JSON lines, or in one table."""
    from agent.cli.tables import bench_table

    if not as_json:
        out.print(bench_table(figures))
        return
    for figure in figures:
        print(json.dumps(figure.to_row(), ensure_ascii=False))


def show_rows(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Print rows as JSON as they come, or all in one table."""
    from agent.cli.tables import rows_table

    if not as_json:
        out.print(rows_table(list(rows)))
        return
    for row in rows:
        print(json.dumps(row, ensure_ascii=False), flush=True)


def check_file(rows: Path | None) -> None:
    """Refuse a file that cannot be written, before minutes of measuring."""
    if rows is not None and not rows.absolute().parent.is_dir():
        raise ConfigError(f"{rows}: name a file in a directory that exists")
