"""Every sentence that tells how to install something names a command that works here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent.extras import EXTRAS, install

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
