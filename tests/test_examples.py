"""The examples run as they are printed, each as a program of its own."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import wave
from pathlib import Path

import pytest
from support.checkpoints import write_checkpoint
from support.smollm import smollm_path

ROOT = Path(__file__).parents[1]


EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
PROGRAMS = [
    name for name in EXAMPLES if "__main__" in (text := (ROOT / "examples" / name).read_text())
    or "argparse" in text
]  # fmt: skip


def run(command: list[str | Path], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
    )


def output(name: str, *arguments: str | Path) -> str:
    done = run([sys.executable, ROOT / "examples" / name, *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout


def onebreath(*arguments: str | Path, folder: Path | None = None) -> str:
    done = run([sys.executable, "-m", "agent", *arguments], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


WRONG = [
    (),
    ("/nowhere/model.gguf",),
    ("/nowhere/model.gguf", "words"),
    ("--no-such-flag", "x", "y", "z"),
    (str(ROOT / "README.md"), "words"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=[" ".join(words) or "none" for words in WRONG])
@pytest.mark.parametrize("name", PROGRAMS)
def test_examples_answer_wrong_input(name, arguments, tmp_path, monkeypatch, capsys):
    """In this process, which has the packages loaded; a traceback would be another exception."""
    if name == "openai_client.py" and arguments:
        return  # every word is a question to it
    program = str(ROOT / "examples" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(program, run_name="__main__")
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) <= 3


def test_a_client_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples" / "openai_client.py"), run_name="__main__")
    assert "pip install 'openai[realtime]'" in str(ended.value.code)


@pytest.mark.slow
def test_a_program_of_its_own_answers_wrong_input_with_a_sentence(tmp_path):
    done = run([sys.executable, ROOT / "examples" / "own_checkpoint.py", "/nowhere"], tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


@pytest.mark.slow
def test_the_own_responder_answers_as_the_readme_says():
    answer = onebreath("reply", "hello there", "--responder", "examples.own_responder:Shouting")
    assert answer.startswith("HELLO THERE")


QUESTION = ROOT / "agent" / "questions" / "capital_of_france.wav"
QUICK = ("--responder", "scripted", "--json")


@pytest.mark.slow
def test_the_own_recogniser_hears_a_call():
    own = ("--asr", "examples.own_recogniser:Stopwatch", "--tts", "tone")
    row = json.loads(onebreath("call", QUESTION, *own, *QUICK))
    assert row["error"] is None
    assert re.fullmatch(r"I spoke for \d seconds\.", row["heard"])
    assert row["heard"] in row["answered"]


@pytest.mark.slow
def test_the_own_voice_speaks_a_call():
    own = ("--asr", "examples.own_recogniser:Stopwatch", "--tts", "examples.own_voice:Whistle")
    row = json.loads(onebreath("call", QUESTION, *own, *QUICK))
    assert row["error"] is None
    assert row["voice_to_voice_ms"] > 0


@pytest.mark.slow
def test_the_own_transport_writes_the_answer(tmp_path):
    answer = tmp_path / "answer.wav"
    assert "You said" in output("own_transport.py", QUESTION, answer, "--quick")
    with wave.open(str(answer)) as file:
        assert file.getnframes() / file.getframerate() > 0.3


@pytest.mark.model
@pytest.mark.slow
def test_denoise_text_prints_every_step() -> None:
    *steps, last = output(
        "denoise_text.py", smollm_path(), "What is the capital of Japan?"
    ).splitlines()
    assert [int(line.split()[0]) for line in steps] == list(range(1, len(steps) + 1))
    assert "Tokyo" in steps[-1]
    assert last == "1.00 tokens per forward, ended by eos"


@pytest.mark.slow
def test_own_checkpoint_keeps_its_deadline(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, "llada")
    lines = output("own_checkpoint.py", path, "hello").splitlines()
    assert lines[0].endswith("reading model.transformer.blocks.0.attn_norm.weight")
    assert "100% reading" in "\n".join(lines)
    found = re.fullmatch(r"(\d+) steps in (\d+) ms", lines[-1])
    assert found is not None
    assert 1 <= int(found[1]) <= 64


@pytest.mark.model
@pytest.mark.slow
def test_infilling_keeps_what_is_given() -> None:
    filled = output("infilling.py", smollm_path(), "The capital of France is ___ and it is old.")
    found = re.fullmatch(r"The capital of France is(.+) and it is old\.\n", filled)
    assert found is not None


@pytest.mark.model
@pytest.mark.slow
def test_json_slots_fit_their_schema() -> None:
    found = json.loads(output("json_slots.py", smollm_path(), "Twelve guests had tomato soup."))
    assert set(found) == {"dish", "guests", "vegetarian"}
    assert 1 <= found["guests"] <= 20
    assert isinstance(found["vegetarian"], bool)
