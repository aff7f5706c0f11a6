"""The file of a run: JSON lines, first the facts of the run, then its turns as they end."""

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
    """Writes rows to a new file and flushes each, so that a killed process loses no row.

    Raises:
        ConfigError: the file exists already, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: TextIO = path.open("x", encoding="utf-8")
        except FileExistsError:
            if path.is_dir():
                raise ConfigError(f"{path}: this is a directory; name a file") from None
            raise ConfigError(
                f"{path}: this file holds a run already; name another with --out"
            ) from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row and flush it to the operating system."""
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
class RecordedRun:
    """The content of a file of rows.

    Attributes:
        name: name of the file.
        facts: first line of the file: address, plan, machine; empty for `onebreath call`.
        rows: turns in the order in which they ended.
        torn: whether the last line is an incomplete row, which is left out.
    """

    name: str
    facts: Mapping[str, Any]
    rows: tuple[TurnResult, ...]
    torn: bool


def turn_row(row: TurnResult) -> dict[str, Any]:
    """The turn as a row of the file."""
    return {"kind": "turn", **json.loads(row.to_json())}


def read_run(path: Path) -> RecordedRun:
    """Read a file of rows of `onebreath latency` or `onebreath call --json`.

    Raises:
        ConfigError: the file cannot be read, a row is malformed, or there are no turns.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "this is no text"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
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
        raise ConfigError(f"{path}: this file has no turns")
    return RecordedRun(path.name, facts, tuple(rows), torn)
