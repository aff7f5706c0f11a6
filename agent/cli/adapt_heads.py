"""``onebreath adapt drafter``, ``turns`` and ``decisions``: networks on a model's own states."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.adapt_common import (
    DataArgument,
    SecondsOption,
    base_of,
    check_directory,
    engine,
    finish,
    reading,
    report,
)
from agent.cli.console import ConfigOption, JsonOption, ModelOption, out

DrafterOutOption = Annotated[
    Path, typer.Option("--out", help="Directory of recordings, training run and drafter.")
]
HeadOutOption = Annotated[Path, typer.Option("--out", help="File for the head.")]
HeadsOutOption = Annotated[Path, typer.Option("--out", help="File for the heads.")]


def drafter(
    base: Annotated[
        str | None,
        typer.Argument(help="Model: a name, a GGUF file or a directory. Default: the responder's."),
    ] = None,
    out_directory: DrafterOutOption = Path("drafter"),
    prompts: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of your own prompts, one JSON object per line; repeatable. They make half "
            "of all first turns. Default: the bundled prompts alone.",
            exists=True,
        ),
    ] = None,
    counts_only: Annotated[
        bool,
        typer.Option(
            "--counts-only",
            help="Make a drafter without a network, of what the model usually says: an hour of a "
            "CPU in place of a night. What is recorded when the time is up is used.",
        ),
    ] = False,
    stage: Annotated[
        str, typer.Option(help="Stage to run: record, train, pack, evaluate, or all of them.")
    ] = "all",
    conversations: Annotated[
        int, typer.Option(min=128, help="Number of conversations to record.")
    ] = 15_360,
    steps: Annotated[int, typer.Option(min=1, help="Number of training steps.")] = 15_000,
    batch: Annotated[int, typer.Option(min=1, help="Conversations per step.")] = 16,
    blocks: Annotated[int, typer.Option(min=1, help="Drafts per conversation and step.")] = 12,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 1.5e-3,
    precision: Annotated[
        str,
        typer.Option(
            help="Number format of the training's products: float32, bfloat16, or auto for "
            "bfloat16 on CPUs that have units for it."
        ),
    ] = "auto",
    words: Annotated[int, typer.Option(min=64, help="Number of tokens that it can draft.")] = 6144,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    seconds: SecondsOption = None,
    dtype: Annotated[
        str, typer.Option(help="Type of the base's weights: int4, int8, float32 or auto.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Train a drafter, with which a model writes several words per pass; resumes with --out."""
    if stage not in ("all", "record", "train", "pack", "evaluate"):
        raise typer.BadParameter(f"{stage} is no stage: use record, train, pack, evaluate or all.")
    if counts_only and stage == "train":
        raise typer.BadParameter("--counts-only trains nothing: use record, pack, evaluate or all.")
    if precision not in ("float32", "bfloat16", "auto"):
        raise typer.BadParameter(f"{precision} is no precision: use float32, bfloat16 or auto.")
    check_directory(out_directory)
    source, instructions = base_of(base, config)
    tasks, options = engine("drafter.tasks"), engine("drafter.options")
    own = engine("tasks").read_prompts(prompts) if prompts else ()
    task = tasks.DrafterTask(
        base=source, out=out_directory, system=instructions, own=own,
        conversations=conversations, counts_only=counts_only, words=words, seconds=seconds,
        dtype=dtype, threads=threads,
        training=options.DraftTraining(
            steps=steps, batch=batch, blocks=blocks, rate=rate, seed=seed,
            precision=options.fast_precision() if precision == "auto" else precision,
        ),
    )  # fmt: skip
    finish(tasks.make(task, stage, report, lambda measured: report(measured.describe())))


def turns(
    data: DataArgument,
    out_file: HeadOutOption = Path("turn_head.safetensors"),
    model: ModelOption = None,
    limit: Annotated[
        int | None, typer.Option(min=10, help="Plain utterances taken of each file.")
    ] = 1400,
    seed: Annotated[int, typer.Option(help="Seed of the choice and the cuts.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the head that tells whole turns from unfinished ones by the model's own state.

    Takes minutes on a CPU. Set responder.turn_head to the file to use it.
    """
    source, instructions = base_of(model, config)
    fit = engine("turn_fit")
    with reading("utterances") as listen:
        quality = fit.make_turn_head(
            source, data, out_file, instructions, limit=limit, seed=seed, tell=listen
        )
    if as_json:
        print(json.dumps(asdict(quality)), flush=True)
        return
    out.print(quality.describe(), highlight=False, soft_wrap=True)
    out.print(f"head: {out_file} (sha256 {fit.digest(out_file)})", highlight=False, soft_wrap=True)


def decisions(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Files of examples, one JSON object per line with text, answer and perhaps "
            "question.",
            exists=True,
        ),
    ],
    out_file: HeadsOutOption = Path("decisions.safetensors"),
    model: ModelOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads. Default: all cores.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit heads that answer questions about the caller's words by the prompt cache alone.

    Takes seconds on a CPU; five examples of each answer suffice, twenty are good. Set
    decisions.heads to the file to use it.

    Example: onebreath adapt decisions intents.jsonl --out intents.safetensors
    """
    source, instructions = base_of(model, config)
    fit = importlib.import_module("dllm_core.tasks.decision_fit")
    with reading("examples") as listen:
        rows = fit.make_heads(
            source, data, out_file, instructions, seed=seed, threads=threads, tell=listen
        )
    for row in rows:
        text = row.pop("text")
        if as_json:
            print(json.dumps(row), flush=True)
        else:
            out.print(text, highlight=False, soft_wrap=True)
    if not as_json:
        out.print(f"heads: {out_file}", highlight=False, soft_wrap=True)
