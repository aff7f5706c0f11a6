"""Tables of the benches' rows: all of every cell is read, however narrow the terminal."""

from io import StringIO

import pytest
from rich.console import Console

from agent.cli.tables import RowsTable, models_table
from agent.models.catalogue import MODELS

ROWS = [
    {"transport": way, "condition": name, "questions": 20, "v2v_p50_ms": 651, "error": None}
    for way in ("webrtc", "realtime")
    for name in ("clean", "a-very-long-name")
]


def printed(rows, width):
    console = Console(file=StringIO(), width=width)
    console.print(RowsTable(rows))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [44, 60, 80, 200])
def test_nothing_is_cut(width):
    text = printed(ROWS, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for row in ROWS:
        assert all(text.count(name) >= 1 for name in row)


@pytest.mark.parametrize("width", [44, 50])
def test_every_part_of_a_table_names_its_rows(width):
    parts = printed(ROWS, width).split("\n\n")
    assert len(parts) > 1
    assert all(part.count("webrtc") == 2 and part.count("clean") == 2 for part in parts)


def test_a_table_that_fits_is_one():
    assert len(printed(ROWS, 80).strip().splitlines()) == 1 + len(ROWS)


def test_a_key_that_some_rows_lack_and_no_rows():
    assert printed([{"a": 1.5}, {"b": None}], 80).split() == ["a", "b", "1.50", "-", "-", "-"]
    assert printed([], 80).strip() == ""


def test_the_name_of_a_model_is_whole_however_narrow_the_terminal():
    console = Console(file=StringIO(), width=50)
    console.print(models_table(list(MODELS.values()), dict.fromkeys(MODELS, ())))
    text = console.file.getvalue()
    assert all(name in text for name in MODELS)
