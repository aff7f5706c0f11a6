"""The file of a run: JSON lines, first the run, then its turns as they come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from agent.errors import ConfigError
from agent.latency.results import TurnResult


class RowWriter:
    """Writes lines so that a killed process loses none of those it took.

    Raises:
        ConfigError: the file is there already, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: TextIO = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise ConfigError(
                f"{path}: this file holds a run already; name another with --out"
            ) from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one line and hand it to the system."""
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Run:
    """What a file holds."""

    name: str
    facts: Mapping[str, Any]
    """Of the first line: address, plan, machine. Empty for rows of `onebreath call`."""
    rows: tuple[TurnResult, ...]
    torn: bool
    """Whether the last line is half a row, as when the writer was killed in the middle of it."""


def turn_row(row: TurnResult) -> dict[str, Any]:
    """One turn, as a line of the file."""
    return {"kind": "turn", **json.loads(row.to_json())}


def read_run(path: Path) -> Run:
    """Read what `onebreath latency` or `onebreath call --json` wrote.

    Raises:
        ConfigError: the file cannot be read, or holds no turns.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    facts: Mapping[str, Any] = {}
    rows: list[TurnResult] = []
    torn = False
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if row.get("kind") == "run":
                facts = row
            elif row.get("kind", "turn") == "turn":
                rows.append(TurnResult.from_row(row))
        except (ValueError, TypeError, AttributeError):
            if number < len(lines):
                raise ConfigError(f"{path}, line {number}: this is no row of a run") from None
            torn = True
    if not rows:
        raise ConfigError(f"{path}: there are no turns in this file")
    return Run(path.name, facts, tuple(rows), torn)
