"""Files of benchmark rows that are gone on with."""

from __future__ import annotations

import pytest

from agent.bench.network import TimeLeft
from agent.bench.rows import append_rows, begun_rows, write_rows
from agent.cli.bench_output import RowKeeper

COMMAND = "onebreath bench network --questions 3 --seed 0"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [], COMMAND)
    append_rows(path, [{"condition": "clean", "error": None}, {"condition": "fog", "error": "no"}])
    return path


def test_a_run_goes_on_with_the_rows_that_it_has(file):
    kept = RowKeeper(file, COMMAND, as_json=False, resumes=True)
    assert kept.table == [{"condition": "clean", "error": None}], "what failed is measured again"
    kept.take({"condition": "loss-1", "error": None})
    again = RowKeeper(file, COMMAND, as_json=False, resumes=True)
    assert [row["condition"] for row in again.table] == ["clean", "loss-1"]


def test_rows_of_another_command_or_of_none_are_no_beginning(file, tmp_path):
    assert begun_rows(file, COMMAND.replace("3", "4")) == []
    assert begun_rows(tmp_path / "none.jsonl", COMMAND) == []


def test_a_line_that_was_cut_off_does_not_count(file):
    with file.open("a") as rows:
        rows.write('{"condition": "loss-')
    assert len(begun_rows(file, COMMAND)) == 2


def test_a_command_that_does_not_resume_begins_anew(file):
    assert RowKeeper(file, COMMAND, as_json=False).table == []
    assert begun_rows(file, COMMAND) == []


def test_the_time_left_is_that_of_the_calls_so_far():
    seconds = [0.0]
    left = TimeLeft(4, 120.0, lambda: seconds[0])
    assert str(left) == "1 of 4, about 8 min left"
    seconds[0] = 60.0
    left.finish()
    assert str(left) == "2 of 4, about 3 min left"
