"""Rows of long benchmarks: kept as they come, shown once."""

from __future__ import annotations

import json

import pytest

from agent.cli.bench_output import RowKeeper
from agent.errors import ConfigError

ROWS = [{"what": "trial", "calls": 1}, {"what": "capacity", "calls": 3}]


def test_rows_are_in_the_file_as_soon_as_they_are_there(tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    kept = RowKeeper(file, "onebreath bench capacity", as_json=True)
    for number, row in enumerate(ROWS, 1):
        kept.take(row)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert lines[0]["command"] == "onebreath bench capacity"
        assert lines[1:] == ROWS[:number]
    kept.show()
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == ROWS


def test_without_json_the_tables_come_at_the_end(capsys):
    kept = RowKeeper(None, "", as_json=False)
    for row in ROWS:
        kept.take(row)
    assert capsys.readouterr().out == ""
    kept.show(kept.table[:1], kept.table[1:])
    shown = capsys.readouterr().out
    assert shown.index("trial") < shown.index("capacity")


def test_a_file_that_cannot_be_is_refused_before_anything_is_measured(tmp_path):
    with pytest.raises(ConfigError, match="directory that exists"):
        RowKeeper(tmp_path / "nowhere" / "rows.jsonl", "", as_json=False)
