"""The adaptation of the default model in pieces of under ten minutes, each resumable.

    python benchmarks/adapt/pieces.py PIECE --base MODEL.gguf --work DIRECTORY [--ship DIRECTORY]
        [-- MORE OPTIONS]

A piece prints what it does, stops at its time limit and ends with 0 when it is done, 3 when it is
to be called again. What a later piece needs is in the working directory; what has to be brought
home is split into parts in `--ship`. Options after `--` go to the piece last and win. docs/adapt.md
gives the order. Only dllm_core and what it imports are needed: no agent, no PEFT.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from carry import split

DATA = Path(__file__).resolve().parent / "data"
PROMPTS = [str(DATA / "voice_prompts.jsonl"), str(DATA / "smalltalk_pairs.jsonl")]
SECONDS = "480"
"""Time limit of a piece; loading, the last checkpoint and the transfer take the rest of 600 s."""

MASK = ["--mask-token", "<empty_output>"]
LIGHT = ["--layers", *map(str, range(20, 30))]
"""The last third of SmolLM2's 30 layers."""

# Variant -> options of its first phase.
VARIANTS = {
    "full": ["--rank", "32"],
    "wide": ["--rank", "64"],
    "light": ["--rank", "64", *LIGHT],
}


def arguments_of(piece: str, work: Path) -> tuple[list[str], Path | None]:
    """Command of a piece, without the base, and the run or file it makes."""
    name, _, variant = piece.partition("-")
    replies = work / "replies.jsonl"
    if piece == "data":
        return ["data", *PROMPTS, "--out", str(replies), "--seconds", SECONDS], replies
    if variant not in VARIANTS:
        raise SystemExit(f"{piece!r} is no piece: see --help")
    first, second = work / f"phase1-{variant}", work / f"phase2-{variant}"
    orders = work / f"trajectories-{variant}.jsonl"
    timed = ["--seconds", SECONDS]
    if name == "phase1":
        return [
            "train", str(replies), "--out", str(first), "--batch", "256", "--steps", "2500",
            "--rate", "8e-4", "--canvas", "16", "32", "32", *VARIANTS[variant], *MASK, *timed,
        ], first  # fmt: skip
    if name == "record":
        return [
            "record", str(replies), "--adapter", str(first), "--out", str(orders),
            "--canvas", "32", "--batch", "128", "--limit", "60000", *timed,
        ], orders  # fmt: skip
    if name == "phase2":
        return [
            "train", str(orders), "--start", str(first), "--out", str(second), "--batch", "256",
            "--steps", "2000", "--rate", "2e-4", "--canvas", "32", "--commit", "4", *timed,
        ], second  # fmt: skip
    if name in ("evaluate1", "evaluate2"):
        run = first if name == "evaluate1" else second
        return ["evaluate", "--adapter", str(run)], None
    raise SystemExit(f"{piece!r} is no piece: see --help")


def ship(made: Path, directory: Path, base: str) -> None:
    """Split the result of a piece: the adapter of a run (bfloat16, without moments), or a file."""
    if not made.is_dir():
        split(made, directory / made.name, group=4)
        return
    adapter = made.with_name(f"{made.name}-adapter")
    command = ["export", str(made), "--out", str(adapter), "--base", base]
    subprocess.run([sys.executable, "-m", "dllm_core.adapt", *command], check=True)
    shutil.copy(made / "log.jsonl", directory / f"{made.name}-log.jsonl")
    for path in adapter.glob("*.json"):
        shutil.copy(path, directory / f"{made.name}-{path.name}")
    split(adapter / "adapter_model.safetensors", directory / made.name, group=4)


def main() -> int:
    names = [f"{p}-{v}" for v in VARIANTS for p in
             ("phase1", "evaluate1", "record", "phase2", "evaluate2")]  # fmt: skip
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Pieces: " + " ".join(["data", *names]),
    )  # fmt: skip
    parser.add_argument("piece")
    parser.add_argument("--base", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--ship", type=Path)
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    given, more = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    given.work.mkdir(parents=True, exist_ok=True)
    command, made = arguments_of(given.piece, given.work)
    whole = [sys.executable, "-m", "dllm_core.adapt", *command, "--base", given.base, *more]
    output = None if made is not None else given.work / f"{given.piece}.jsonl"
    if output is None:
        code = subprocess.run(whole, check=False).returncode
    else:
        with output.open("w") as file:
            code = subprocess.run(whole, check=False, stdout=file).returncode
        print(output.read_text(), end="")
    if given.ship is not None and code in (0, 3):
        given.ship.mkdir(parents=True, exist_ok=True)
        if made is not None:
            ship(made, given.ship, given.base)
        elif output is not None:
            shutil.copy(output, given.ship)
    return code


if __name__ == "__main__":
    sys.exit(main())
