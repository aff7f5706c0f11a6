"""`python -m dllm_core.adapt data|train|record|evaluate|export`, for machines without the agent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dllm_core.adapt import tasks
from dllm_core.adapt.collate import CollateOptions
from dllm_core.adapt.distill import DistillOptions
from dllm_core.adapt.evaluate import STEPS
from dllm_core.adapt.train import Listener, TrainingReport, TrainOptions
from dllm_core.errors import DllmError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one piece; returns 0 when it is done, 3 when its time is up (call again), 2 on errors."""
    given = _parser().parse_args(arguments)
    try:
        done: bool = given.do(given)
    except DllmError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if done else 3


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _report(every: int) -> Listener:
    def listen(report: TrainingReport) -> None:
        if report.step % every == 0 or report.step == report.steps:
            _tell(
                f"step {report.step}/{report.steps} entropy {report.entropy:.3f} "
                f"accuracy {report.accuracy:.3f} {report.seconds:.0f} s"
            )

    return listen


def _data(given: argparse.Namespace) -> bool:
    options = DistillOptions(
        system=given.system,
        batch=given.batch,
        max_tokens=given.max_tokens,
        samples=given.samples,
        seconds=given.seconds,
    )
    return tasks.make_data(
        given.base, given.prompts, given.out, options,
        limit=given.limit, device=given.device, dtype=given.dtype, tell=_tell,
    )  # fmt: skip


def _train(given: argparse.Namespace) -> bool:
    task = tasks.TrainTask(
        base=given.base,
        data=given.data,
        out=given.out,
        options=TrainOptions(
            steps=given.steps, batch=given.batch, rate=given.rate, seed=given.seed,
            seconds=given.seconds,
        ),
        collate=CollateOptions(canvas_lengths=tuple(given.canvas), commit=given.commit),
        system=given.system,
        rank=given.rank,
        canvas_layers=None if given.layers is None else tuple(given.layers),
        mask_token=given.mask_token,
        start=None if given.start is None else tasks.finished_adapter(given.start),
        longest=given.longest,
        recompute=given.recompute,
        device=given.device,
        dtype=given.dtype,
    )  # fmt: skip
    return tasks.train(task, _tell, _report(given.every))


def _record(given: argparse.Namespace) -> bool:
    return tasks.make_trajectories(
        given.base, tasks.finished_adapter(given.adapter), given.data, given.out,
        canvas=given.canvas, batch=given.batch, limit=given.limit, seconds=given.seconds,
        device=given.device, dtype=given.dtype, system=given.system, tell=_tell,
    )  # fmt: skip


def _evaluate(given: argparse.Namespace) -> bool:
    adapter = None if given.adapter is None else tasks.finished_adapter(given.adapter)
    steps = [k if k in STEPS else int(k) for k in given.steps] if given.steps else STEPS
    for row in tasks.evaluate(
        given.base, adapter, steps=steps, limit=given.limit, system=given.system,
        device=given.device, dtype=given.dtype, threads=given.threads, tell=_tell,
    ):  # fmt: skip
        print(json.dumps(row), flush=True)
    return True


def _export(given: argparse.Namespace) -> bool:
    print(tasks.export(given.base, given.run, given.out))
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dllm_core.adapt", description=__doc__)
    pieces = parser.add_subparsers(required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--base", required=True)
    common.add_argument("--system", default=tasks.SYSTEM)
    common.add_argument("--device", default="auto")
    common.add_argument("--dtype", default="auto")
    common.add_argument("--seconds", type=float)
    common.add_argument("--limit", type=int)
    data = pieces.add_parser("data", parents=[common], help="let the base answer prompts")
    data.add_argument("prompts", nargs="+", type=Path)
    data.add_argument("--out", type=Path, required=True)
    data.add_argument("--batch", type=int, default=256)
    data.add_argument("--max-tokens", type=int, default=40)
    data.add_argument("--samples", type=int, default=1)
    data.set_defaults(do=_data)
    _add_train(
        pieces.add_parser("train", parents=[common], help="train an adapter; phase 2 with --commit")
    )
    record = pieces.add_parser("record", parents=[common], help="record the model's trajectories")
    record.add_argument("data", nargs="+", type=Path)
    record.add_argument("--adapter", type=Path, required=True)
    record.add_argument("--out", type=Path, required=True)
    record.add_argument("--canvas", type=int, default=32)
    record.add_argument("--batch", type=int, default=256)
    record.set_defaults(do=_record)
    evaluate = pieces.add_parser("evaluate", parents=[common], help="print rows of figures")
    evaluate.add_argument("--adapter", type=Path)
    evaluate.add_argument("--steps", nargs="*", help="4 8 16 32 one_per_step")
    evaluate.add_argument("--threads", type=int)
    evaluate.set_defaults(do=_evaluate)
    export = pieces.add_parser("export", parents=[common], help="write an adapter in bfloat16")
    export.add_argument("run", type=Path)
    export.add_argument("--out", type=Path, required=True)
    export.set_defaults(do=_export)
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("data", nargs="+", type=Path)
    train.add_argument("--out", type=Path, required=True)
    train.add_argument("--start", type=Path, help="adapter or run to go on from")
    train.add_argument("--steps", type=int, default=1000)
    train.add_argument("--batch", type=int, default=16)
    train.add_argument("--rate", type=float, default=5e-4)
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--rank", type=int, default=32)
    train.add_argument("--canvas", type=int, nargs="+", default=[32])
    train.add_argument("--layers", type=int, nargs="+", help="layers that the canvas runs through")
    train.add_argument("--commit", type=int, help="positions to commit per step (phase 2)")
    train.add_argument("--mask-token")
    train.add_argument("--longest", type=int, default=512)
    train.add_argument("--recompute", action="store_true")
    train.add_argument("--every", type=int, default=50, help="steps between two lines")
    train.set_defaults(do=_train)


if __name__ == "__main__":
    sys.exit(main())
