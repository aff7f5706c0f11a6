"""Every sentence that tells how to install something names a command that works here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from agent.extras import EXTRAS, install, own_command

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = [
    path
    for package in ("agent", "asr", "tts", "dllm_core")
    for path in (ROOT / package).rglob("*.py")
]


@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_are_those_of_the_project(extra):
    assert list(EXTRAS[extra]) == PROJECT["optional-dependencies"][extra]


@pytest.mark.slow
@pytest.mark.parametrize("extra", EXTRAS)
def test_the_command_is_accepted_by_pip(extra):
    """Everything is installed here, so pip answers without a network."""
    if extra == "ray" and find_spec("ray") is None:
        pytest.skip("Ray is no part of the extra dev, for its size (docs/deploy.md)")
    command = shlex.split(install(extra))
    assert command[0] == sys.executable
    done = subprocess.run(
        [*command, "--no-index", "--no-deps"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_sentence_names_an_extra_that_no_index_has():
    named = re.compile(r"pip install[^\n]*(onebreath\[|\.\[)")
    found = [path for path in SOURCES if named.search(path.read_text())]
    assert found == []


@pytest.mark.slow
def test_the_own_command_is_one_that_the_shell_finds(tmp_path):
    command = shlex.split(own_command("--version"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("activated", [True, False])
def test_the_own_command_has_a_path_where_the_environment_is_not_activated(
    tmp_path, monkeypatch, activated
):
    script = tmp_path / "onebreath"
    script.touch(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path) if activated else "/nowhere")
    assert own_command("doctor") == f"{'onebreath' if activated else script} doctor"


def test_a_source_tree_that_is_not_installed_has_a_command_too(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert own_command("models") == f"{tmp_path / 'python'} -m agent models"
