"""The examples run as they are printed, each as a program of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkpoints import write_checkpoint
from support.smollm import smollm_path

ROOT = Path(__file__).parents[1]


def output(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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
