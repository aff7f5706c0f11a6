"""The ``onebreath bench`` commands, which measure this machine and print figures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.bench_engine import ENGINE_BENCHES, draft
from agent.cli.bench_output import show_figures, show_rows
from agent.cli.console import ConfigOption, JsonOption, ModelOption, err, out, settings_from
from agent.cli.groups import Commands
from agent.cli.places import check_file

bench = typer.Typer(cls=Commands, no_args_is_help=False)


@bench.callback(invoke_without_command=True)
def path(
    context: typer.Context,
    turns: Annotated[int, typer.Option(min=1, max=1000, help="Number of spoken turns.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Benchmark this machine: without a command, the latency of the default path.

    The server is warmed up first. The commands below measure one part each.
    """
    if context.invoked_subcommand is not None:
        return
    from agent.bench.default_path import run_bench

    settings = settings_from(config)
    with err.status("loading") as status:
        figures = run_bench(settings, config, turns, status.update)
    show_figures(figures, as_json)


for _bench in ENGINE_BENCHES:
    bench.command(_bench.name, help=_bench.full_help)(_bench.command())
bench.command()(draft)


@bench.command()
def responders(
    prompts: Annotated[
        Path, typer.Argument(help="File of prompts, one per line, or .jsonl with checks.")
    ],
    responder: Annotated[
        list[str],
        typer.Option(help="Responder: ENGINE, ENGINE#MODEL or hosted:URL#MODEL. May be repeated."),
    ],
    steps: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Diffusion steps per canvas. May be repeated. Default: the responder's own.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Repetitions of all prompts.")] = 3,
    prices: Annotated[
        Path | None,
        typer.Option(help="TOML file of prices, one table per --responder. Default: no costs."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare responders on your own prompts: latency, tokens, energy, cost, right answers.

    Example: onebreath bench responders prompts.txt --responder diffusion --responder autoregressive
    """
    from agent.bench.candidates import compare_responders
    from agent.bench.prices import read_prices
    from agent.bench.prompts import read_prompts
    from agent.bench.responders import ReplyScore, summarise
    from agent.cli.tables import contest_table

    settings = settings_from(config)
    asked = read_prompts(prompts)
    cost = read_prices(prices) if prices is not None else {}
    scores: list[ReplyScore] = []

    def collect(score: ReplyScore) -> None:
        scores.append(score)
        if as_json:
            print(json.dumps(score.to_row(), ensure_ascii=False), flush=True)
        elif score.error is not None:
            err.print(f"{score.responder}: {score.error}", style="red", soft_wrap=True)

    with err.status("loading") as status:
        compare_responders(
            responder, steps or [], settings, cost, asked, rounds, collect, status.update
        )
    summaries = summarise(scores)
    if as_json:
        for summary in summaries:
            print(json.dumps(summary, ensure_ascii=False))
    else:
        out.print(contest_table(summaries))
    raise typer.Exit(1 if any(score.error for score in scores) else 0)


@bench.command("turns")
def turn_taking(
    questions: Annotated[int, typer.Option(min=1, max=30, help="Number of spoken questions.")] = 30,
    interruptions: Annotated[
        int, typer.Option(min=0, max=100, help="Number of replies to interrupt.")
    ] = 6,
    rows: Annotated[Path | None, typer.Option(help="File for the rows of all turns.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure turn taking: latency with and without speculation, false cut-offs, interruptions."""
    from agent.bench.rows import write_rows
    from agent.bench.turn_taking import run_turns
    from agent.cli.tables import RowsTable

    settings_from(config)
    check_file(rows)
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
    out.print(RowsTable(table))


@bench.command()
def webrtc(
    beeps: Annotated[
        int, typer.Option(min=5, max=1000, help="Number of beeps per round-trip figure.")
    ] = 50,
    as_json: JsonOption = False,
) -> None:
    """Measure the WebRTC transport over loopback: connecting, round trip, loss, eight calls."""
    from agent.bench.webrtc import run_webrtc_bench

    settings_from(None)
    with err.status("loading") as status:
        figures = run_webrtc_bench(beeps, status.update)
    show_figures(figures, as_json)


@bench.command()
def browser(
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="Number of visits over each transport.")
    ] = 5,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the web client in Chromium: connecting, latency display, silence after Esc.

    Needs Chromium, and Playwright from the extra `browser`.
    """
    from agent.bench.browser import run_browser_bench

    settings_from(config)
    with err.status("loading") as status:
        figures = run_browser_bench(config, rounds, status.update)
    show_figures(figures, as_json)


@bench.command()
def tools(
    requests: Annotated[
        Path | None,
        typer.Option(help="File of tools and requests. Default: those of the program."),
    ] = None,
    rows: Annotated[Path | None, typer.Option(help="File for the rows of all requests.")] = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure function tools: right tool, right arguments, valid JSON, milliseconds.

    The configured responder is asked spoken-style requests, each as the first turn of a call.
    """
    from agent.bench.rows import write_rows
    from agent.bench.tools import REQUESTS, read_requests, run_tools, summarise
    from agent.runtime.engines import make_responder, thread_plan

    settings = settings_from(config, {"responder": {"model": model}})
    check_file(rows)
    offered, asked = read_requests(requests or REQUESTS)
    with err.status("loading") as status:
        threads = thread_plan(settings).responder
        responder = make_responder(settings.responder, threads, status.update)
        answered = run_tools(responder, offered, asked, status.update)
    table = [*(each.to_row() for each in answered), summarise(answered)]
    if rows is not None:
        write_rows(rows, table, "onebreath bench tools")
    if as_json:
        show_rows(table[-1:], as_json=True)
        return
    show_rows(({k: v for k, v in row.items() if k != "what"} for row in table[:-1]), as_json=False)
    show_rows(table[-1:], as_json=False)


@bench.command()
def decisions(
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of decisions for every turn.")
    ] = 5,
    rows: Annotated[Path | None, typer.Option(help="File for the rows of all decisions.")] = None,
    routing: Annotated[
        bool, typer.Option(help="Fit and measure the routing of callers by ten intents.")
    ] = True,
    model: ModelOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure typed questions: ten in one pass, beside ten passes and ten requests; and routing."""
    from agent.bench.rows import write_rows
    from agent.runtime.engines import model_path, thread_plan

    # Imported by name, because the start of the program must not import torch.
    run_decisions = importlib.import_module("agent.bench.decisions").run_decisions
    settings = settings_from(config, {"responder": {"model": model}})
    check_file(rows)
    with err.status("loading") as status:
        source = model_path(settings.responder.model, status.update)
        table = list(
            run_decisions(
                source,
                threads=thread_plan(settings).responder,
                device=settings.responder.device,
                rounds=rounds,
                progress=status.update,
                routing=routing,
            )
        )
    if rows is not None:
        write_rows(rows, table, f"onebreath bench decisions --rounds {rounds}")
    show_rows(table[-1:], as_json)


@bench.command()
def endpoint(
    voices: Annotated[
        list[str] | None,
        typer.Option(
            "--voices",
            help="Voice of the caller: piper, espeak-ng:VOICE or flite:VOICE. May be repeated. "
            "Default: piper.",
        ),
    ] = None,
    utterances: Annotated[
        Path | None,
        typer.Option(
            "--utterances",
            help='Your own utterances: one a line, kind, colon, words, with "|" for a pause. '
            "All of them count as held out. Default: the bundled ones.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="File for the rows of all pauses.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure false cut-offs and endpoint delays by policy, on utterances with pauses."""
    from agent.bench.endpoint import figures, measure, pause_row
    from agent.bench.rows import write_rows
    from agent.bench.utterances import UTTERANCES, read_utterances
    from agent.models.store import fetch_command

    settings = settings_from(config)
    check_file(rows)
    texts = read_utterances(utterances or UTTERANCES)
    with err.status("loading") as status:
        pauses, with_model = measure(settings, voices or ["piper"], status.update, texts)
    if rows is not None:
        options = "".join(f" --voices {name}" for name in voices or [])
        options += f" --utterances {utterances}" if utterances is not None else ""
        write_rows(rows, map(pause_row, pauses), f"onebreath bench endpoint{options}")
    if not with_model:
        err.print(
            f"smart-turn is missing and was left out; run: {fetch_command('smart-turn')}",
            style="dim",
        )
    table = list(figures(pauses, settings.turns, with_model))
    show_rows(table, as_json)


@bench.command()
def speech(
    ear: Annotated[
        int, typer.Option(min=0, max=2000, help="Lines to speak and recognise as well.")
    ] = 0,
    forms: Annotated[
        Path | None, typer.Option("--table", help="Your own table; default the bundled one.")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="Write the recognised lines to this file.")
    ] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="List the lines that are wrong.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Share of written numbers, dates, codes and names that are spoken right, by class."""
    from agent.bench.rows import write_rows
    from agent.bench.speech import chosen, heard, table, wrong_lines
    from agent.bench.spoken_forms import TABLE, read_forms

    settings = settings_from(config)
    check_file(rows)
    lines = read_forms(forms or TABLE)
    with err.status("loading") as status:
        listened = heard(settings, chosen(lines, ear), status.update) if ear else []
    if rows is not None:
        write_rows(rows, (line.row() for line in listened), f"onebreath bench speech --ear {ear}")
    show_rows(table(lines, listened), as_json)
    if wrong:
        for line in wrong_lines(lines, listened):
            err.print(line, markup=False, highlight=False, soft_wrap=True)


@bench.command()
def phone(
    calls: Annotated[
        int, typer.Option(min=1, max=200, help="Number of concurrent telephone calls.")
    ] = 20,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Number of replies per call.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Measure the delay of the telephony bridge and many concurrent telephone calls.

    No models are used.
    """
    from agent.bench.telephony import run_phone_bench

    with err.status("starting") as status:
        figures = run_phone_bench(calls, rounds, status.update)
    show_figures(figures, as_json)


@bench.command()
def neighbours(
    calls: Annotated[int, typer.Option(min=1, max=16, help="Number of calls measured.")] = 3,
    turns: Annotated[
        int, typer.Option(min=2, max=1000, help="Number of typed turns of each call.")
    ] = 20,
    scripted: Annotated[
        bool, typer.Option(help="Scripted engines, to measure everything else.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what one client at its limits costs other calls: floods of five kinds.

    Exits with 1 where a p95 is more than 1.3 of that of an idle server.
    """
    from agent.bench.neighbours import run_neighbours_bench

    settings_from(config)
    with err.status("loading") as status:
        rows = run_neighbours_bench(calls, turns, config, scripted, status.update)
    show_rows(rows, as_json)
    raise typer.Exit(0 if all(row["met"] for row in rows) else 1)
