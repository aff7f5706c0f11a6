"""The figures of the ``onebreath bench`` commands, as tables or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.console import out
from agent.cli.places import check_file

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
    from agent.cli.tables import RowsTable

    if not as_json:
        out.print(RowsTable(list(rows)))
        return
    for row in rows:
        print(json.dumps(row, ensure_ascii=False), flush=True)


class RowKeeper:
    """Takes rows as they come: into a file, and as JSON to the terminal.

    Args:
        file: file for the rows; None: they are in no file. Begun anew, with the machine, unless it
            ``resumes``.
        command: command line of the benchmark, for the file.
        as_json: whether each row is printed at once.
        resumes: whether a file that an earlier run of the command has begun is gone on with.

    Raises:
        ConfigError: the file cannot be written.

    Attributes:
        table: the rows so far.
    """

    def __init__(
        self, file: Path | None, command: str, as_json: bool, *, resumes: bool = False
    ) -> None:
        from agent.bench.rows import begun_rows, write_rows

        check_file(file)
        self.table: list[dict[str, Any]] = []
        if file is not None:
            if resumes:
                self.table = [row for row in begun_rows(file, command) if not row.get("error")]
            write_rows(file, self.table, command)
        self._file = file
        self._as_json = as_json

    def take(self, row: dict[str, Any]) -> None:
        """Keep one more row."""
        from agent.bench.rows import append_rows

        self.table.append(row)
        if self._file is not None:
            append_rows(self._file, [row])
        if self._as_json:
            show_rows([row], as_json=True)

    def show(self, *tables: Sequence[dict[str, Any]]) -> None:
        """Print the rows as tables, all in one where none are named, unless they are JSON."""
        for table in () if self._as_json else tables or (self.table,):
            show_rows(table, as_json=False)
