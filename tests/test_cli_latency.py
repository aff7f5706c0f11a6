"""`onebreath latency` and `onebreath report` as a user meets them, against a real websocket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fake_agent import RATE, question

from agent.audio.samples import write_wav
from agent.cli import main
from agent.latency.results import TurnResult
from agent.latency.rows import read_run, turn_row

HERE = Path(__file__).parent


@pytest.fixture
def onebreath(monkeypatch, capfd, tmp_path):
    """Run the command line in this process; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_wav(tmp_path / "q.wav", [question(0.2).samples], RATE)
    (tmp_path / "expected.json").write_text('{"q": "Hello there!"}')
    (tmp_path / "answers.json").write_text('{"q": {"contains": "Paris"}}')

    def run(*words):
        monkeypatch.setattr("sys.argv", ["onebreath", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capfd.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


@contextmanager
def agent(delay_ms):
    """The fake agent in a process of its own; gives it and its address."""
    command = [sys.executable, str(HERE / "support" / "fake_realtime.py"), str(delay_ms)]
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def written(path, totals, **more):
    lines = [
        turn_row(TurnResult(turn, "q.wav", "", "", total, {"asr": total / 2}, **more))
        for turn, total in enumerate(totals, 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.slow
def test_the_last_line_is_the_summary_and_a_budget_decides_the_exit(onebreath):
    with agent(50) as (_, url):
        words = ("latency", "q.wav", "--url", url, "--turns", 4, "--warmup", 1, "--json")
        code, printed, complaint = onebreath(*words, "--budget", "total=1,errors=0")
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["kind"] for row in rows] == ["run"] + ["turn"] * 5 + ["summary"]
    assert (rows[-1]["turns"], rows[-1]["errors"], rows[-1]["wer"]) == (4, 0, 0.0)
    assert rows[-1]["p50"] <= rows[-1]["p95"] <= rows[-1]["p99"]
    assert rows[-1]["passed"] == 4
    assert code == 1
    assert "over budget: total.p95" in complaint
    assert [overrun["name"] for overrun in rows[-1]["over_budget"]] == ["total.p95"]


@pytest.mark.slow
def test_rows_and_recordings_are_written_and_reported(onebreath, tmp_path):
    with agent(50) as (_, url):
        code, printed, _ = onebreath(
            *("latency", "q.wav", "--url", url, "--turns", 3, "--calls", 2, "--warmup", 0),
            *("--out", "run.jsonl", "--record", "calls", "--link", "delay=20", "--rate", 60),
        )
    assert code == 0
    assert "3 turns, 0 with errors" in printed
    assert len(list((tmp_path / "calls").glob("*.wav"))) == 2
    run = read_run(tmp_path / "run.jsonl")
    assert len(run.rows) == 3
    assert all(row.voice_to_voice_ms > 90 for row in run.rows)
    assert run.facts["link"]["delay"] == 0.02
    code, reported, _ = onebreath("report", "run.jsonl")
    assert code == 0
    assert reported == printed


@pytest.mark.slow
def test_killing_the_server_loses_no_row(onebreath, tmp_path):
    with agent(20) as (process, url):
        command = [sys.executable, "-m", "agent", "latency", "q.wav", "--url", url]
        command += ["--turns", "8", "--warmup", "0", "--out", "run.jsonl"]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        with subprocess.Popen(command, cwd=tmp_path, env=environment) as tool:
            lines_of(tmp_path / "run.jsonl", 3)
            process.send_signal(signal.SIGKILL)
            assert tool.wait(timeout=60) == 0
    rows = read_run(tmp_path / "run.jsonl").rows
    assert [row.turn for row in rows] == list(range(1, 9))
    assert rows[0].error is None
    assert "nobody answers" in rows[-1].error


@pytest.mark.slow
def test_killing_the_tool_loses_no_row_it_had(onebreath, tmp_path):
    with agent(20) as (_, url):
        command = [sys.executable, "-m", "agent", "latency", "q.wav", "--url", url]
        command += ["--duration", "1h", "--warmup", "0", "--out", "run.jsonl"]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        with subprocess.Popen(command, cwd=tmp_path, env=environment) as tool:
            seen = lines_of(tmp_path / "run.jsonl", 4)
            tool.send_signal(signal.SIGKILL)
    assert len(read_run(tmp_path / "run.jsonl").rows) >= seen - 1


def lines_of(path, count):
    """Wait until a file has so many lines; gives how many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = path.read_text().count("\n") if path.exists() else 0
        if found >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no {count} lines")


@pytest.mark.slow
def test_two_runs_are_compared(onebreath, tmp_path):
    first = written(tmp_path / "a.jsonl", [500.0 + turn % 7 for turn in range(60)])
    second = written(tmp_path / "b.jsonl", [600.0 + turn % 7 for turn in range(60)])
    code, printed, _ = onebreath("report", first, second)
    assert code == 0
    assert printed.count("slower") == 3  # p50 and p95 of the total, p50 of asr
    code, printed, _ = onebreath("report", first, second, "--json")
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["kind"] for row in rows] == ["ratio"] * 4 + ["summary"]
    assert rows[0]["ratio"] == pytest.approx(1.2, abs=0.01)
    code, printed, _ = onebreath("report", first, first)
    assert "slower" not in printed
    assert "faster" not in printed


@pytest.mark.slow
def test_a_report_is_one_page_and_plots(onebreath, tmp_path):
    run = written(tmp_path / "a.jsonl", [500.0, 700.0], error="<b>no</b>")
    code, _, _ = onebreath("report", run, "--html", "report.html", "--plots", "plots")
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "&lt;b&gt;no" in page
    assert "http" not in page.replace("http-equiv", "")
    for name in ("histogram", "timeline", "waterfall"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert code == 1  # not one turn without an error


@pytest.mark.slow
def test_a_run_without_spans_or_latencies_has_plots_too(onebreath, tmp_path):
    (tmp_path / "none.jsonl").write_text(
        json.dumps(turn_row(TurnResult(1, "q.wav", "", "", None, error="lost"))) + "\n"
    )
    onebreath("report", "none.jsonl", "--plots", "plots")
    assert len(list((tmp_path / "plots").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["latency", "--url", "ws://127.0.0.1:1/"], "nobody answers there"),
        (["latency", "none.wav"], "no such file"),
        (["latency", "q.wav", "--out", "."], "this is a directory"),
        (["latency", "q.wav", "--duration", "soon"], "write 24h"),
        (["latency", "q.wav", "--link", "speed=1"], "write delay=50"),
        (["latency", "q.wav", "--budget", "total"], "total is a number"),
        (["latency", "q.wav", "--rate", "0"], "more than zero"),
        (["latency", "q.wav", "--calls", "4", "--turns", "2"], "raise --turns"),
        (["latency", "q.wav", "--session", "none.json"], "cannot be read"),
        (["report", "none.jsonl"], "none.jsonl: cannot be read: No such file"),
        (["report", "q.wav"], "q.wav: cannot be read: this is no text"),
    ],
)
def test_mistakes_get_one_sentence(onebreath, tmp_path, words, reason):
    code, _, complaint = onebreath(*words)
    assert code == 2
    assert complaint.count("error:") == 1
    assert reason in complaint
    assert not list(tmp_path.glob("*.jsonl"))
