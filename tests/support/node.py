"""Node and the few development packages of the JavaScript side, pinned by hash."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import filelock
import pytest

JAVASCRIPT = Path(__file__).parent.parent / "javascript"
INSTALL_SECONDS = 120


def lacking(what: str, *, needed: bool = True) -> NoReturn:
    """A tool of the tests is not there: an error where it must be, else a loud skip."""
    if needed and os.environ.get("CI"):
        pytest.fail(f"{what}; CI has to have it", pytrace=False)
    pytest.skip(f"{what}: NOT TESTED HERE")


def node() -> str:
    """The path of Node, 20 or newer."""
    path = shutil.which("node")
    if path is None:
        lacking("there is no node (Debian: apt-get install nodejs npm)")
    return path


def node_modules() -> Path:
    """The packages of ``javascript/package-lock.json``, installed once, by one process."""
    folder = JAVASCRIPT / "node_modules"
    with filelock.FileLock(f"{folder}.lock", timeout=2 * INSTALL_SECONDS):
        return _installed(folder)


def _installed(folder: Path) -> Path:
    stamp = folder / ".package-lock.json"  # npm writes it last
    lock = JAVASCRIPT / "package-lock.json"
    if stamp.is_file() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return folder
    npm = shutil.which("npm")
    if npm is None:
        lacking("there is no npm (Debian: apt-get install npm)")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command, cwd=JAVASCRIPT, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the package registry of npm does not answer: NOT TESTED HERE")
    if done.returncode:
        pytest.skip(f"npm could not install: NOT TESTED HERE: {done.stderr.strip()[-300:]}")
    return folder
