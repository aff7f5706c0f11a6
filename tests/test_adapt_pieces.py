"""Every piece of the recipe for the default model, run on a tiny one, as on the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkpoints import write_checkpoint

from dllm_core.adapt.tasks import finished_adapter
from dllm_core.model import lora

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "benchmarks" / "adapt"


def run(*arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def piece(name: str, base: Path, work: Path, ship: Path, *more: object) -> str:
    return run(
        BENCH / "pieces.py", name, "--base", base, "--work", work, "--ship", ship, "--",
        "--device", "cpu", *more,
    )  # fmt: skip


SHORT = ("--steps", 2, "--batch", 2, "--longest", 420)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["full", pytest.param("light", marks=pytest.mark.long)])
def test_all_pieces_in_their_order(tmp_path: Path, variant: str) -> None:
    base = write_checkpoint(tmp_path / "base", "llama", layers=30)
    work, ship = tmp_path / "work", tmp_path / "ship"
    piece("data", base, work, ship, "--limit", 4, "--batch", 2, "--max-tokens", 4)
    # A random model says nothing worth learning; its training data are somebody else's here.
    rows = [{"prompt": "Hello", "reply": "Hello there."}, {"prompt": "Bye", "reply": "Good bye."}]
    (work / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    piece(f"phase1-{variant}", base, work, ship, *SHORT)
    piece(f"record-{variant}", base, work, ship, "--batch", 2)
    piece(f"phase2-{variant}", base, work, ship, *SHORT)
    printed = piece(f"evaluate2-{variant}", base, work, ship, "--limit", 1, "--steps", 4)
    assert [json.loads(line)["k"] for line in printed.splitlines()] == ["ar", 4]
    adapter = lora.read_denoiser(finished_adapter(work / f"phase2-{variant}"))
    assert adapter is not None
    assert adapter.canvas_layers == (None if variant == "full" else tuple(range(20, 30)))
    home = tmp_path / "home.safetensors"
    run(BENCH / "carry.py", "join", ship / f"phase2-{variant}-1", "--out", home)
    home_bytes = home.read_bytes()
    assert home_bytes == (work / f"phase2-{variant}-adapter" / lora.WEIGHTS).read_bytes()
    kept = finished_adapter(work / f"phase2-{variant}") / lora.WEIGHTS
    assert len(home_bytes) < 0.7 * kept.stat().st_size  # half, and its names


@pytest.mark.slow
def test_files_travel_in_parts(tmp_path: Path) -> None:
    whole = tmp_path / "model.gguf"
    whole.write_bytes(os.urandom(1 << 20) * 33)
    run(BENCH / "carry.py", "split", whole, tmp_path / "part", "--group", 2)
    first, second = tmp_path / "part-1", tmp_path / "part-2"
    sizes = [p.stat().st_size for d in (first, second) for p in sorted(d.glob("part-*"))]
    assert max(sizes) <= 16 << 20
    assert sum(sizes) == whole.stat().st_size
    run(BENCH / "carry.py", "join", first, second, "--out", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == whole.read_bytes()
    run(BENCH / "carry.py", "join", first, "--out", tmp_path / "again", code=2)
    (second / "part-002").write_bytes(b"x")
    run(BENCH / "carry.py", "join", first, second, "--out", tmp_path / "again", code=2)
