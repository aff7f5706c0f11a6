"""No library reports to its maker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("agent", "asr", "dllm_core", "tts", "web_client")
RUNTIME = re.compile(r"^\s*(?:import|from) (?:onnxruntime|faster_whisper|piper)\b", re.MULTILINE)
"""Imports of ONNX Runtime, and of what imports it."""
SETTING = "ORT_DISABLE_TELEMETRY"


def users() -> list[str]:
    found = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in found
        if RUNTIME.search(path.read_text(encoding="utf-8"))
    )


def test_each_package_that_uses_onnx_runtime_tells_it_not_to_report() -> None:
    packages = {name.partition(".")[0] for name in users()}
    assert packages == {"agent", "asr", "tts"}
    for package in packages:
        assert SETTING in (ROOT / package / "__init__.py").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("own", ["agent.audio.vad", "asr.whisper", "tts.vits"])
def test_a_session_leaves_no_identifier_behind(tmp_path: Path, own: str) -> None:
    """ONNX Runtime 1.32 keeps one, and a queue of events, in the user's cache directory."""
    program = (
        f"import {own}, onnxruntime, faster_whisper.utils, pathlib\n"
        "assets = pathlib.Path(faster_whisper.utils.get_assets_path())\n"
        "model = str(next(assets.glob('*.onnx')))\n"
        "onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])\n"
    )
    unset = (SETTING, "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    left = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in left if "onnxruntime" in name.lower() or "deviceid" in name]
