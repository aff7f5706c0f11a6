"""End of turn to first audio: real recogniser, 8B geometry, real voice, real server on loopback.

    python benchmarks/gpu/turns.py [--questions 20] [--dtype fp8] [--steps 16] [--out FILE]

Runs `onebreath bench turns` with the responder of geometry_responder.py, the recogniser on the GPU
and the voice on `--voice-device`, and adds what of voice to voice is beyond the endpoint wait,
with speculation and without. Needs the embedded models, or `--config` that names others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PERCENTILES = (50, 95, 99)
TIMEOUT = 590.0

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="End of turn to first audio at 8B geometry.")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--dtype", choices=("bfloat16", "fp8"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--asr-device", default="cuda")
    parser.add_argument("--voice-device", default="cpu")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = _run(options, Path(folder) / "turns.jsonl")
    added = list(beyond_the_wait(rows, options.dtype, options.steps))
    with options.out.open("a", encoding="utf-8") as file:
        for row in (*rows, *added):
            file.write(json.dumps(row) + "\n")
    print("\n".join(map(json.dumps, added)))
    return 0


def _run(options: argparse.Namespace, out: Path) -> list[Row]:
    command = [
        sys.executable, "-m", "agent", "bench", "turns", "--questions", str(options.questions),
        "--interruptions", "0", "--rows", str(out),
    ]  # fmt: skip
    if options.config is not None:
        command += ["--config", str(options.config)]
    variables = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")]),
        "ONEBREATH_RESPONDER__ENGINE": "geometry_responder:GeometryResponder",
        "ONEBREATH_ASR__DEVICE": options.asr_device,
        "ONEBREATH_TTS__DEVICE": options.voice_device,
        "GEOMETRY_DTYPE": options.dtype,
        "GEOMETRY_STEPS": str(options.steps),
    }
    subprocess.run(command, env={**os.environ, **variables}, check=True, timeout=TIMEOUT)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def beyond_the_wait(rows: Sequence[Row], dtype: str, steps: int) -> Iterator[Row]:
    """Percentiles of voice to voice less the endpoint wait, by whether it was speculated."""
    for speculation in (False, True):
        turns = [
            row["voice_to_voice_ms"] - row["spans"]["endpoint_wait"]
            for row in rows
            if row["what"] == "turn"
            and row["speculation"] == speculation
            and row["voice_to_voice_ms"] is not None
        ]
        if not turns:
            continue
        found = {f"p{p}_ms": round(float(np.percentile(turns, p)), 1) for p in PERCENTILES}
        yield {
            "what": "beyond the wait",
            "speculation": speculation,
            "dtype": dtype,
            "steps": steps,
            "turns": len(turns),
            **found,
        }


if __name__ == "__main__":
    raise SystemExit(main())
