"""The commands that look after the machine: doctor, models, bench."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.errors import ConfigError
from agent.terminal import ConfigOption, JsonOption, ModelOption, err, out, settings_from

if TYPE_CHECKING:
    from agent.config import Settings


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check this machine and say what to do."""
    from agent import doctor as surgery
    from agent.engines import thread_plan

    settings = settings_from(config)
    with err.status("looking at this machine"):
        findings = surgery.examine(
            settings.server.host, settings.server.port, thread_plan(settings)
        )
    if as_json:
        for finding in findings:
            print(json.dumps(asdict(finding)))
    else:
        out.print(surgery.render(findings))
    raise typer.Exit(1 if surgery.worst(findings) is surgery.Level.PROBLEM else 0)


def models(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Install what is missing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the default models, verify their files, fetch what is missing."""
    from agent import models as registry
    from agent.view import models_table

    chosen = [registry.get(name) for name in names or registry.MODELS]
    if fetch:
        registry.fetch([model.name for model in chosen], lambda line: err.print(line, style="dim"))
    with err.status("verifying"):
        found = {model.name: registry.problems(model.name) for model in chosen}
    if as_json:
        for model in chosen:
            row = {"name": model.name, "role": model.role, "bytes": model.size}
            row |= {"licence": model.licence, "problems": found[model.name]}
            print(json.dumps(row, ensure_ascii=False))
    else:
        out.print(models_table(chosen, found))
        for problem in (line for lines in found.values() for line in lines):
            err.print(problem, style="red", soft_wrap=True)
    raise typer.Exit(1 if any(found.values()) else 0)


bench = typer.Typer(help="Print the latency figures of this machine.", no_args_is_help=False)


@bench.callback(invoke_without_command=True)
def path(
    context: typer.Context,
    turns: Annotated[int, typer.Option(min=1, max=1000, help="Spoken turns.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The default path, warm; `step`, `reply`, `cache`, `agree` measure the engine alone."""
    if context.invoked_subcommand is not None:
        return
    from agent.bench import run_bench
    from agent.view import bench_table

    settings = settings_from(config)
    with err.status("loading") as status:
        figures = run_bench(settings, config, turns, status.update)
    if as_json:
        for figure in figures:
            print(json.dumps(figure.to_row(), ensure_ascii=False))
    else:
        out.print(bench_table(figures))


@bench.command("turns")
def turn_taking(
    questions: Annotated[int, typer.Option(min=1, max=30, help="Spoken questions.")] = 30,
    interruptions: Annotated[int, typer.Option(min=0, max=100, help="Of replies.")] = 6,
    rows: Annotated[Path | None, typer.Option(help="Write every turn to this file.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Voice to voice, speculation on and off, false cut-offs, silence after an interruption."""
    from agent.bench_turns import run_turns, write_rows
    from agent.view import rows_table

    settings_from(config)
    if rows is not None and not rows.absolute().parent.is_dir():
        raise ConfigError(f"{rows}: name a file in a directory that is there")
    with err.status("loading") as status:
        figures = run_turns(config, questions, interruptions, status.update)
    if rows is not None:
        write_rows(rows, figures, f"onebreath bench turns --questions {questions}")
    summary = figures.summary()
    if as_json:
        print(json.dumps(summary))
        return
    off = summary.pop("without_speculation")
    table = [
        {"figure": name, "speculation": value, "without": off.get(name, "")}
        for name, value in summary.items()
    ]
    out.print(rows_table(table))


@bench.command()
def webrtc(
    beeps: Annotated[int, typer.Option(min=5, max=1000, help="For each round trip.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """A WebRTC line over loopback: connecting, round trip, losses, eight calls at once."""
    from agent.view import bench_table
    from agent.webrtc_bench import run_webrtc_bench

    settings_from(None)
    with err.status("loading") as status:
        figures = run_webrtc_bench(beeps, status.update)
    if as_json:
        for figure in figures:
            print(json.dumps(figure.to_row(), ensure_ascii=False))
    else:
        out.print(bench_table(figures))


class EngineBench(StrEnum):
    """What can be measured of the engine alone."""

    STEP = "step"
    REPLY = "reply"
    CACHE = "cache"
    AGREE = "agree"


def _measure(what: EngineBench, settings: Settings, dtypes: Sequence[str], as_json: bool) -> None:
    from agent.engines import model_path, thread_plan
    from agent.view import rows_table

    # By name: what starts the program must not reach torch.
    measure = importlib.import_module("dllm_core.bench").measure
    source = model_path(settings.responder.model, lambda line: None)
    rows = []
    with err.status("loading") as status:
        for row in measure(
            str(what),
            source,
            dtypes,
            device=settings.responder.device,
            threads=thread_plan(settings).responder,
            report=status.update,
        ):
            rows.append(row)
            if as_json:
                print(json.dumps(row), flush=True)
    if not as_json:
        out.print(rows_table(rows))


DtypesOption = Annotated[
    list[str] | None, typer.Option("--dtype", help="int8, float32, bfloat16; may be repeated.")
]


@bench.command()
def step(
    model: ModelOption = None,
    dtype: DtypesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """One denoising step by canvas length, against transformers, and reading one more word."""
    settings = settings_from(config, {"responder": {"model": model}})
    _measure(EngineBench.STEP, settings, dtype or ["int8", "float32"], as_json)


@bench.command()
def reply(
    model: ModelOption = None,
    dtype: DtypesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Whole replies with a cached prompt, by canvas length."""
    settings = settings_from(config, {"responder": {"model": model}})
    _measure(EngineBench.REPLY, settings, dtype or ["int8"], as_json)


@bench.command()
def cache(
    model: ModelOption = None,
    dtype: DtypesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far replies with each cache policy agree with replies without a cache."""
    settings = settings_from(config, {"responder": {"model": model}})
    _measure(EngineBench.CACHE, settings, dtype or ["float32"], as_json)


@bench.command()
def agree(
    model: ModelOption = None,
    dtype: DtypesOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """How far replies in int8 agree with those in float32, over 100 questions."""
    settings = settings_from(config, {"responder": {"model": model}})
    _measure(EngineBench.AGREE, settings, dtype or ["int8"], as_json)


@bench.command()
def endpoint(
    voices: Annotated[
        list[str] | None,
        typer.Option("--voices", help="piper, espeak-ng:VOICE, flite:VOICE; may be repeated."),
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="Every pause and its words, as JSON lines.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """False cut-offs and endpoint delays by policy, on utterances with pauses for thought."""
    from agent.endpoint_bench import figures, measure, pause_row
    from agent.view import rows_table

    settings = settings_from(config)
    with err.status("loading") as status:
        pauses, with_model = measure(settings, voices or ["piper"], status.update)
    if rows is not None:
        lines = [json.dumps(pause_row(pause), ensure_ascii=False) for pause in pauses]
        rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not with_model:
        err.print("without smart-turn; run: onebreath models --fetch smart-turn", style="dim")
    table = list(figures(pauses, with_model))
    if as_json:
        for row in table:
            print(json.dumps(row))
    else:
        out.print(rows_table(table))


@bench.command()
def phone(
    calls: Annotated[int, typer.Option(min=1, max=200, help="Telephone calls at once.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Replies of each call.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """What the telephone bridge adds, and many telephone calls at once; no models are used."""
    from agent.phone_bench import run_phone_bench
    from agent.view import bench_table

    with err.status("starting") as status:
        figures = run_phone_bench(calls, rounds, status.update)
    if as_json:
        for figure in figures:
            print(json.dumps(figure.to_row(), ensure_ascii=False))
    else:
        out.print(bench_table(figures))
