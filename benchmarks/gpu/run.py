"""Figures of the GPU: a correctness gate, then step, reply, prefill and energy beside the peers.

    python benchmarks/gpu/run.py [--pieces gate ours-bf16 ...] [--out FILE] [--seconds 540] [--tiny]

Rows are appended to benchmarks/results/gpu-DEVICE.jsonl, with device, commit and versions before
them. Every piece takes less than ten minutes; those that the file has already are left out, and
none begins after `--seconds`: ends with 0 when all are done, 3 when it is to be called again.
`--tiny` runs everything at a tiny size wherever it is, to see that the programs work: its times
mean nothing, and its rows go where `--out` says.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import gate  # noqa: E402
import ours  # noqa: E402
import peers  # noqa: E402
import torch  # noqa: E402
from geometry import REAL, SMALL, Sizes  # noqa: E402

AGAIN = 3
COLUMNS = ("arm", "dtype", "batch", "steps", "step_ms", "floor_ms", "reply_ms", "first_tokens_ms",
           "prefill_ms", "tokens_per_s", "joules_per_token")  # fmt: skip

Row = dict[str, Any]
Piece = Callable[[Sizes, torch.device], Iterator[Row]]
PIECES: dict[str, Piece] = {
    "gate": lambda sizes, device: gate.check(device),
    "ours-bf16": lambda sizes, device: ours.measure(sizes, "bfloat16", device),
    "ours-fp8": lambda sizes, device: ours.measure(sizes, "fp8", device),
    "fp8-logits": gate.fp8_error,
    "autoregressive-bf16": lambda sizes, device: peers.autoregressive(sizes, "bfloat16", device),
    "autoregressive-fp8": lambda sizes, device: peers.autoregressive(sizes, "fp8", device),
    "fast-dllm": peers.fast_dllm,
    "eager": peers.eager,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda" and not options.tiny:
        raise SystemExit(
            "There is no CUDA device: --tiny shows that the programs work without one."
        )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    out = options.out or ROOT / "benchmarks" / "results" / f"gpu-{_slug(name)}.jsonl"
    done = _done(out)
    begin = perf_counter()
    for piece in options.pieces:
        if piece in done:
            print(f"{piece}: measured already")
        elif perf_counter() - begin > options.seconds:
            print(f"{piece}: no time left, call again")
            return AGAIN
        else:
            _run(piece, SMALL if options.tiny else REAL, device, name, out)
    print("\n".join(_table(_rows(out))))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pieces", nargs="+", choices=PIECES, default=list(PIECES))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=540.0)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args(arguments)
    if options.tiny and options.out is None:
        parser.error("--tiny needs --out: its rows are no results")
    return options


def _slug(name: str) -> str:
    return "-".join(name.lower().replace("nvidia", "").split())


def _run(piece: str, sizes: Sizes, device: torch.device, name: str, out: Path) -> None:
    """Append a piece's rows as they come; it counts as done when its last row is there."""
    print(f"{piece} on {name}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:

        def write(row: Row) -> None:
            file.write(json.dumps({"piece": piece, "device": name, **row}) + "\n")
            file.flush()

        write(_machine())
        for row in PIECES[piece](sizes, device):
            write(row)
            print(f"  {json.dumps(row)}")
        write({"what": "done"})
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _machine() -> Row:
    return {
        "what": "machine",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "date": date.today().isoformat(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit, or None where the files were copied without their history."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    except FileNotFoundError:
        return None


def _rows(out: Path) -> list[Row]:
    if not out.exists():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def _done(out: Path) -> set[str]:
    return {row["piece"] for row in _rows(out) if row["what"] == "done"}


def _table(rows: list[Row]) -> Iterator[str]:
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    for row in rows:
        if row["what"] in ("reply", "prefill"):
            yield "| " + " | ".join(_cell(row.get(column)) for column in COLUMNS) + " |"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    return "" if value is None else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
