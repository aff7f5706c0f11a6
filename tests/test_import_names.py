"""A project with folders of our packages' names does not break a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("agent", "asr", "dllm_core", "tts", "web_client")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that has all five names, and a plug-in of its own."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not the one')\n")
    shouting = (ROOT / "examples" / "own_responder.py").read_text()
    (tmp_path / "shouting.py").write_text(shouting)
    return tmp_path


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("start", [("-m", "onebreath"), (str(ROOT / "onebreath.py"),)])
def test_commands_find_their_own_packages(project, start):
    done = run(project, *start, "reply", "hello there", "--responder", "shouting:Shouting")
    assert done.returncode == 0, done.stderr
    assert "HELLO THERE" in done.stdout


@pytest.mark.slow
def test_the_voices_process_finds_its_own_packages(project):
    script = (
        "import sys, onebreath; sys.meta_path.insert(0, onebreath.OwnPackages);"
        "import tts.remote, os; print(tts.remote._import_path().split(os.pathsep)[0])"
    )
    done = run(project, "-c", script)
    assert done.stdout.strip() == str(ROOT), done.stderr
