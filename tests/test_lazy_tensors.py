from __future__ import annotations

import json

import pytest

from agent.errors import ConfigError
from agent.latency.results import TurnResult
from agent.latency.rows import RowWriter, read_run, turn_row

ROW = TurnResult(1, "q.wav", "hello", "Hi.", 900.0, {"asr": 1.0}, gaps_ms=[12.0], check=True)


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "run.jsonl"
    with RowWriter(path) as writer:
        writer.write({"kind": "run", "url": "ws://x"})
        writer.write(turn_row(ROW))
        # What is written can be read before the file is closed.
        assert len(path.read_text().splitlines()) == 2
    run = read_run(path)
    assert run.rows == (ROW,)
    assert run.facts["url"] == "ws://x"
    assert not run.torn


def test_half_a_row_at_the_end_is_told_and_left_out(tmp_path):
    path = tmp_path / "run.jsonl"
    line = json.dumps(turn_row(ROW))
    path.write_text(f"{line}\n{line}\n{line[:40]}")
    run = read_run(path)
    assert len(run.rows) == 2
    assert run.torn


def test_rows_of_a_call_and_summaries_can_stand_in_the_file(tmp_path):
    path = tmp_path / "call.jsonl"
    path.write_text(f'{ROW.to_json()}\n{{"kind": "summary", "p50": 900}}\n')
    assert read_run(path).rows == (ROW,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no turns"),
        ('{"kind": "run"}\n', "no turns"),
        ("nonsense\n" + ROW.to_json(), "line 1: this is no row"),
        ('{"turn": 1}\n' + ROW.to_json(), "line 1: this is no row"),
        ("3\n" + ROW.to_json(), "line 1: this is no row"),
    ],
)
def test_what_is_no_run(tmp_path, text, reason):
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_run(path)


def test_a_run_is_never_written_over(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text("kept")
    with pytest.raises(ConfigError, match="holds a run already"):
        RowWriter(path)
    assert path.read_text() == "kept"
    with pytest.raises(ConfigError, match="cannot be written"):
        RowWriter(tmp_path / "none" / "run.jsonl")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_run(tmp_path / "none.jsonl")
