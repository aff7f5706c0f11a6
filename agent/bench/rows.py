"""Files of benchmark rows, with a description of the machine."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from agent.doctor.readings import cpu_features, load_average, memory
from agent.errors import CallError
from agent.runtime.threads import cores


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], command: str) -> None:
    """Write rows as JSON lines, after a row about the machine and the command.

    Args:
        path: file to write.
        rows: rows of the benchmark.
        command: command line of the benchmark.

    Raises:
        CallError: the file cannot be written.
    """
    machine = {"what": "machine", "command": command, **_this_machine()}
    _write(path, [machine, *rows], "w")


def begun_rows(path: Path, command: str) -> list[dict[str, Any]]:
    """The rows that an earlier run of this command has left, if it was of this commit, too.

    A line that was cut off while it was written does not count.

    Raises:
        CallError: the file cannot be read.
    """
    try:
        text = path.read_text("utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise CallError(f"{path}: cannot be read: {error}") from error
    rows = list(_objects(text))
    machine = rows[0] if rows else {}
    same = machine.get("command") == command and machine.get("commit") == _commit()
    return rows[1:] if same else []


def _objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows as JSON lines to a file that `write_rows` has begun.

    Raises:
        CallError: the file cannot be written.
    """
    _write(path, rows, "a")


def _write(path: Path, rows: Iterable[Mapping[str, Any]], mode: Literal["w", "a"]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CallError(f"{path}: cannot be written: {error.strerror}") from error


def _this_machine() -> dict[str, Any]:
    total, _ = memory()
    return {
        "cpu": platform.processor() or platform.machine(),
        "features": sorted(f for f in cpu_features() if f.startswith("avx")),
        "cores": cores(),
        "memory_gb": round(total / 1e9),
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "load": round(load_average(), 2),
    }


def _commit() -> str | None:
    """Commit of this working copy; None outside a clone."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
