"""The commands that print figures of this machine: `onebreath bench` and what is under it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.console import ConfigOption, JsonOption, ModelOption, err, out, settings_from
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.bench.figures import Figure
    from agent.config.settings import Settings

bench = typer.Typer(help="Print the latency figures of this machine.", no_args_is_help=False)


@bench.callback(invoke_without_command=True)
def path(
    context: typer.Context,
    turns: Annotated[int, typer.Option(min=1, max=1000, help="Spoken turns.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The default path, warm; step, reply, cache and the like measure the engine alone."""
    if context.invoked_subcommand is not None:
        return
    from agent.bench.default_path import run_bench

    settings = settings_from(config)
    with err.status("loading") as status:
        figures = run_bench(settings, config, turns, status.update)
    _show_figures(figures, as_json)


def _show_figures(figures: Sequence[Figure], as_json: bool) -> None:
    from agent.cli.tables import bench_table

    if not as_json:
        out.print(bench_table(figures))
        return
    for figure in figures:
        print(json.dumps(figure.to_row(), ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class _EngineBench:
    """What can be measured of the engine alone."""

    name: str
    about: str
    dtypes: tuple[str, ...]


ENGINE_BENCHES = (
    _EngineBench(
        "step",
        "One denoising step by canvas length, against transformers, and reading one more word.",
        ("int4", "int8", "float32"),
    ),
    _EngineBench("reply", "Whole replies with a cached prompt, by canvas length.", ("int4",)),
    _EngineBench(
        "cache",
        "How far replies with each cache policy agree with replies without a cache.",
        ("float32",),
    ),
    _EngineBench(
        "deadline",
        "Replies of 32 positions with 100, 200 and 400 ms: alone and on a busy machine.",
        ("int8",),
    ),
    _EngineBench("batch", "Replies of several calls in one batch, by their number.", ("int4",)),
    _EngineBench(
        "agree",
        "How far replies in int4 and int8 agree with those in float32, over 100 questions.",
        ("int4", "int8"),
    ),
)

DtypesOption = Annotated[
    list[str] | None,
    typer.Option("--dtype", help="int4, int8, float32, bfloat16; may be repeated."),
]


def _command(what: _EngineBench) -> Callable[..., None]:
    def measure_engine(
        model: ModelOption = None,
        dtype: DtypesOption = None,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        settings = settings_from(config, {"responder": {"model": model}})
        _measure(what.name, settings, dtype or what.dtypes, as_json)

    return measure_engine


for _what in ENGINE_BENCHES:
    bench.command(_what.name, help=_what.about)(_command(_what))


def _measure(what: str, settings: Settings, dtypes: Sequence[str], as_json: bool) -> None:
    from agent.runtime.engines import model_path, thread_plan

    # By name: what starts the program must not reach torch.
    measure = importlib.import_module("dllm_core.bench.main").measure
    source = model_path(settings.responder.model, lambda line: None)
    with err.status("loading") as status:
        rows = measure(
            what,
            source,
            dtypes,
            device=settings.responder.device,
            threads=thread_plan(settings).responder,
            report=status.update,
        )
        _show(rows, as_json)


def _show(rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Rows as they come, or all in one table."""
    from agent.cli.tables import rows_table

    if not as_json:
        out.print(rows_table(list(rows)))
        return
    for row in rows:
        print(json.dumps(row, ensure_ascii=False), flush=True)


@bench.command()
def draft(
    model: ModelOption = None,
    drafter: Annotated[
        Path | None, typer.Option(help="Directory; default: the one that comes with the model.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="Prompts of each domain.")] = 50,
    max_tokens: Annotated[int, typer.Option(min=4, max=256)] = 48,
    dtype: Annotated[str, typer.Option(help="int4, int8 or float32.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    llama_python: Annotated[
        Path | None, typer.Option(help="Interpreter with llama-cpp-python, to run beside.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replies with a drafter beside token by token, on held-out prompts: words equal, time."""
    from agent.runtime.engines import model_path, thread_plan

    settings = settings_from(config, {"responder": {"model": model}})
    measure = importlib.import_module("dllm_core.adapt.drafter.bench").measure
    with err.status("loading") as status:
        rows = measure(
            str(model_path(settings.responder.model, lambda line: None)),
            drafter=drafter,
            system=settings.responder.instructions,
            limit=limit,
            max_tokens=max_tokens,
            dtype=dtype,
            threads=threads or thread_plan(settings).responder,
            llama_python=llama_python,
            report=status.update,
        )
        _show(rows, as_json)


@bench.command()
def responders(
    prompts: Annotated[Path, typer.Argument(help="A prompt a line, or .jsonl with checks.")],
    responder: Annotated[
        list[str],
        typer.Option(help="ENGINE, ENGINE#MODEL or hosted:URL#MODEL; may be repeated."),
    ],
    steps: Annotated[
        list[int] | None, typer.Option(min=1, help="Diffusion steps per canvas; may be repeated.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Times through the prompts.")] = 3,
    prices: Annotated[
        Path | None, typer.Option(help="TOML file, a table for each responder as named here.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Your own prompts put to several responders in turn: times, tokens, energy, cost, answers."""
    from agent.bench.contest import Score, summarise
    from agent.bench.contestants import hold_contest
    from agent.bench.prices import read_prices
    from agent.bench.prompts import read_prompts
    from agent.cli.tables import contest_table

    settings = settings_from(config)
    asked = read_prompts(prompts)
    cost = read_prices(prices) if prices is not None else {}
    scores: list[Score] = []

    def take(score: Score) -> None:
        scores.append(score)
        if as_json:
            print(json.dumps(score.to_row(), ensure_ascii=False), flush=True)
        elif score.error is not None:
            err.print(f"{score.responder}: {score.error}", style="red", soft_wrap=True)

    with err.status("loading") as status:
        hold_contest(responder, steps or [], settings, cost, asked, rounds, take, status.update)
    summaries = summarise(scores)
    if as_json:
        for summary in summaries:
            print(json.dumps(summary, ensure_ascii=False))
    else:
        out.print(contest_table(summaries))
    raise typer.Exit(1 if any(score.error for score in scores) else 0)


def _check_file(rows: Path | None) -> None:
    """Before minutes of measuring."""
    if rows is not None and not rows.absolute().parent.is_dir():
        raise ConfigError(f"{rows}: name a file in a directory that is there")


@bench.command("turns")
def turn_taking(
    questions: Annotated[int, typer.Option(min=1, max=30, help="Spoken questions.")] = 30,
    interruptions: Annotated[int, typer.Option(min=0, max=100, help="Of replies.")] = 6,
    rows: Annotated[Path | None, typer.Option(help="Write every turn to this file.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Voice to voice, speculation on and off, false cut-offs, silence after an interruption."""
    from agent.bench.rows import write_rows
    from agent.bench.turn_taking import run_turns
    from agent.cli.tables import rows_table

    settings_from(config)
    _check_file(rows)
    with err.status("loading") as status:
        figures = run_turns(config, questions, interruptions, status.update)
    if rows is not None:
        command = f"onebreath bench turns --questions {questions} --interruptions {interruptions}"
        write_rows(rows, figures.rows(), command if config is None else f"{command} -c {config}")
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
    from agent.bench.webrtc import run_webrtc_bench

    settings_from(None)
    with err.status("loading") as status:
        figures = run_webrtc_bench(beeps, status.update)
    _show_figures(figures, as_json)


@bench.command()
def browser(
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Visits over each transport.")] = 5,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """The page in Chromium: connecting, its display against a recording, Esc to silence."""
    from agent.bench.browser import run_browser_bench

    settings_from(config)
    with err.status("loading") as status:
        figures = run_browser_bench(config, rounds, status.update)
    _show_figures(figures, as_json)


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
    from agent.bench.endpoint import figures, measure, pause_row
    from agent.bench.rows import write_rows

    settings = settings_from(config)
    _check_file(rows)
    with err.status("loading") as status:
        pauses, with_model = measure(settings, voices or ["piper"], status.update)
    if rows is not None:
        options = "".join(f" --voices {name}" for name in voices or [])
        write_rows(rows, map(pause_row, pauses), f"onebreath bench endpoint{options}")
    if not with_model:
        err.print("without smart-turn; run: onebreath models --fetch smart-turn", style="dim")
    table = list(figures(pauses, settings.turns, with_model))
    _show(table, as_json)


@bench.command()
def phone(
    calls: Annotated[int, typer.Option(min=1, max=200, help="Telephone calls at once.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Replies of each call.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """What the telephone bridge adds, and many telephone calls at once; no models are used."""
    from agent.bench.phone import run_phone_bench

    with err.status("starting") as status:
        figures = run_phone_bench(calls, rounds, status.update)
    _show_figures(figures, as_json)
