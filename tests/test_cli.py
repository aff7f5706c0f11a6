"""The command line as a user meets it: what it prints and how it says no."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from agent.cli import main
from agent.config.settings import Settings
from agent.latency.results import TurnResult, spans_at_the_ear
from agent.models import store
from agent.questions import bundled_questions

ROOT = Path(__file__).parents[1]
SCRIPTED = ["--asr", "scripted", "--responder", "scripted", "--tts", "tone"]


@pytest.fixture
def onebreath(monkeypatch, capfd, tmp_path):
    """Run the command line in this process; gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        monkeypatch.setattr("sys.argv", ["onebreath", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capfd.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return run


def wav(path, samples, rate=16_000, width=2):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_help_names_every_command(onebreath):
    code, printed, _ = onebreath("--help")
    assert code == 0
    for command in (
        "serve",
        "call",
        "demo",
        "latency",
        "report",
        "reply",
        "doctor",
        "models",
        "bench",
    ):
        assert command in printed


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["call", "missing.wav"], "missing.wav: no such file"),
        (["call", "text.wav"], "not a sound file"),
        (["call", "empty.wav"], "holds no samples"),
        (["call", "tone.wav", "--out", "no/such/dir/call.wav"], "name a file in a directory"),
        (["call", "tone.wav", "--url", "ws://127.0.0.1:1/v1/realtime"], "nobody answers there"),
        (["call", "tone.wav", "--url", "http://127.0.0.1:1"], "http://127.0.0.1:1: nobody answers"),
        (["call", "tone.wav", "--url", "127.0.0.1:1"], "127.0.0.1:1: nobody answers there"),
        (["call", "tone.wav", "--url", "nonsense"], "nonsense: no websocket address"),
        (["say", " "], "nothing to say"),
        (["say", "hi", "--lexicon", "none"], "settings: tts.lexicon: none: cannot be read"),
        (["call", "tone.wav", "--out", "."], "name a file in a directory"),
        (["call", "tone.wav", "--url", "ws://127.0.0.1:99999/"], "no websocket address"),
        (["call", "tone.wav", "--url", "ws://[::1/"], "no websocket address"),
        (["reply", "hi", "--responder", "os:getcwd"], "no responder"),
        (["reply", "hi", "--responder", "scripted", "--model", "x"], "leave it out"),
        (["reply", "  "], "nothing to answer"),
        (
            ["reply", "hi", "--responder", "nobody"],
            "there is no 'nobody'; known are ab, auto",
        ),
        (["reply", "hi", "--responder", "no.such:Thing"], "cannot be loaded"),
        (["reply", "hi", "--model", "/no/such.gguf"], "/no/such.gguf"),
        (["bench", "step", "--dtype", "int3"], "int3"),
        (["bench", "agree", "--dtype", "float32"], "give another dtype"),
        (["bench", "reply", "--model", "/no/such.gguf"], "/no/such.gguf"),
        (["serve", "--asr", "nobody"], "nobody"),
        (["serve", "--tts", "nobody", "--asr", "scripted", "--responder", "scripted"], "nobody"),
        (["models", "nobody"], "no model 'nobody' is known"),
        (["serve", "--config", "none.toml"], "none.toml: cannot be read"),
        (["serve", "--config", "typo.toml"], "server.prot: no such setting"),
        (["serve", "--host", "203.0.113.7"], "no key is needed"),
        (["serve", "--insecure", "--host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
        (["key", "two words"], "letters, digits"),
    ],
)
def test_mistakes_get_one_sentence_and_no_traceback(onebreath, tmp_path, words, reason):
    (tmp_path / "text.wav").write_text("no sound at all " * 50)
    (tmp_path / "typo.toml").write_text("[server]\nprot = 1\n")
    wav(tmp_path / "empty.wav", np.zeros(0))
    wav(tmp_path / "tone.wav", 9000 * np.sin(np.arange(8000) / 6))
    code, _, complaint = onebreath(*words)
    assert code == 2
    assert complaint.count("error:") == 1
    assert reason in complaint
    assert "Traceback" not in complaint


def test_a_taken_port_is_named(onebreath):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, complaint = onebreath("serve", "--port", port, *SCRIPTED)
    assert code == 2
    assert f"127.0.0.1:{port} is taken" in complaint
    assert f"--port {port + 1}" in complaint


def test_a_damaged_model_is_named_with_the_cure(onebreath, monkeypatch):
    monkeypatch.setattr(store, "problems", lambda name, progress=None: [f"{name} is damaged"])
    code, printed, complaint = onebreath("models", "joe", "--json")
    assert code == 1
    assert json.loads(printed)["problems"] == ["joe is damaged"]
    code, _, complaint = onebreath("models", "joe")
    assert code == 1
    assert "joe is damaged" in complaint


def test_models_says_where_its_files_are(onebreath, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "problems", lambda name, progress=None: [])
    monkeypatch.setenv("ONEBREATH_MODELS", str(tmp_path / "parts"))
    monkeypatch.setenv("ONEBREATH_PACKED_WEIGHTS", str(tmp_path / "packed"))
    code, printed, _ = onebreath("models", "joe")
    assert code == 0
    assert f"in {tmp_path / 'parts'}\n" in printed
    assert f"in {tmp_path / 'packed'}\n" in printed
    _, printed, _ = onebreath("models", "joe", "--json")
    assert len(printed.splitlines()) == 1


def test_a_reply_in_text(onebreath):
    code, printed, _ = onebreath("reply", "hello there", "--responder", "scripted", "--json")
    assert code == 0
    row = json.loads(printed)
    assert row["text"] == "You said: hello there"
    assert row["steps"] == row["forwards"] == 2
    assert row["ms"] >= 0
    code, printed, _ = onebreath("reply", "hello there", "--responder", "scripted")
    assert "You said: hello there" in printed
    assert "2 steps" in printed


@pytest.mark.slow
def test_a_call_that_nobody_understands_says_so(onebreath, tmp_path):
    path = wav(tmp_path / "quiet.wav", np.zeros(4000))
    code, printed, _ = onebreath("call", path, *SCRIPTED, "--json", "--timeout", 0.5)
    assert code == 1
    row = json.loads(printed)
    assert row["voice_to_voice_ms"] is None
    assert "no reply within" in row["error"]


def test_spans_are_moved_to_the_ear_and_sum_exactly():
    server = {"endpoint_wait": 500.0, "asr": 300.5, "tts": 100.0, "transport": 0.2}
    spans = spans_at_the_ear(server, 1032.0, 1000.0, 987.654)
    assert spans["endpoint_wait"] == 532.0
    assert sum(spans.values()) == pytest.approx(987.654, abs=1e-6)
    assert spans["transport"] == pytest.approx(987.654 - 532.0 - 300.5 - 100.0)


def test_a_result_is_one_line_of_json():
    row = TurnResult(1, "q.wav", "hello\nthere", "Hi.", 900.0, {"asr": 1.0})
    assert json.loads(row.to_json())["heard"] == "hello\nthere"
    assert "\n" not in row.to_json()


def test_the_bundled_questions_are_there():
    assert len(bundled_questions()) >= 5
    assert Settings().asr.model in store.MODELS


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        ImportError("libtorch.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_is_said_in_a_sentence(monkeypatch, capsys, error):
    def fails():
        raise error

    monkeypatch.setattr(main, "app", fails)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert "not enough memory" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("command", [["version"], ["--help"], ["key", "name"]])
def test_a_full_disk_is_one_sentence(command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "onebreath", *command],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 2
    assert re.fullmatch(r"error: nothing more can be written, .*\n", done.stderr)


STUCK = """
import sys, threading

class Stuck:
    def __init__(self):
        print("now", flush=True)
        threading.Event().wait()

    def listen(self): ...
    def warm_up(self): ...
    def close(self): ...
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["demo"]])
def test_ctrl_c_ends_a_start_at_once(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    engines = ["--asr", "stuck:Stuck", "--responder", "scripted", "--tts", "tone"]
    started = subprocess.Popen(
        [sys.executable, "-P", "-m", "onebreath", *command, *engines],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "now\n"
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=30)
    assert started.returncode == 130
    assert "Traceback" not in said
