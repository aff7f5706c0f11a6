"""The commands ``onebreath latency`` and ``onebreath report``, which measure any agent."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.agent_options import (
    KeyOption,
    RecordOption,
    SessionOption,
    TransportOption,
    UrlOption,
)
from agent.cli.console import ConfigOption, JsonOption, err, out, settings_from
from agent.cli.engine_options import EngineChoice, takes_engines
from agent.errors import AudioError, ConfigError
from agent.latency.transport_names import TransportName

if TYPE_CHECKING:
    from agent.latency.budget import RunBudget
    from agent.latency.page import ReportPart
    from agent.latency.question import SpokenQuestion
    from agent.latency.results import TurnResult
    from agent.latency.rows import RecordedRun
    from agent.latency.summary import Summary

DEFAULT_TURNS = 20
"""Turns of a run without ``--turns`` and ``--duration``."""

BudgetOption = Annotated[
    str | None,
    typer.Option(
        help="Limits in ms or shares, such as total=800,asr.p50=200,wer=0.1,errors=0; "
        "exit with 1 beyond them.",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(help="Seed of the random generator (question order, network, intervals)."),
]
ReportSeedOption = Annotated[
    int, typer.Option(help="Seed of the random generator (confidence intervals).")
]


@takes_engines
def latency(
    *,
    engines: EngineChoice,
    questions: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Recordings, or directories of WAV files. Default: the bundled questions."
        ),
    ] = None,
    url: UrlOption = None,
    transport: TransportOption = TransportName.REALTIME,
    key: KeyOption = None,
    session: SessionOption = None,
    turns: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of turns over all calls. Default: 20, or as fit into --duration."
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help="Length of the run, such as 24h, 1h30m or 90s.")
    ] = None,
    calls: Annotated[int, typer.Option(min=1, max=1000, help="Number of concurrent calls.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Turns per minute over all calls (open loop). "
            "Default: each turn follows the reply before it (closed loop).",
        ),
    ] = None,
    warmup: Annotated[
        int,
        typer.Option(min=0, help="Turns at the start of each concurrent call that do not count."),
    ] = 1,
    turns_per_call: Annotated[
        int, typer.Option(min=1, max=200, help="Turns of a call before it is placed anew.")
    ] = 10,
    seed: SeedOption = 0,
    link: Annotated[
        str | None,
        typer.Option(
            help="Simulated network impairment in each direction, in ms and percent, "
            "such as delay=50,jitter=20,loss=1.",
        ),
    ] = None,
    interrupt: Annotated[
        float | None, typer.Option(min=0.0, help="Interrupt each reply after this many seconds.")
    ] = None,
    listen: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds to wait for a greeting at the start of each call."),
    ] = 0.0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Longest wait for a reply in seconds.")
    ] = 20.0,
    rows: Annotated[
        Path | None, typer.Option("--out", help="File for the rows. Default: latency-TIME.jsonl.")
    ] = None,
    record: RecordOption = None,
    budget: BudgetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the latency of an agent at its caller's ear: any agent by URL, or one started here.

    Examples:

        onebreath latency --turns 100

        onebreath latency --transport webrtc --url http://HOST:8080 --link delay=50,jitter=20

        onebreath latency --interrupt 1 --budget total=800,interrupt=400,errors=0
    """
    from agent.cli.latency_run import (
        rows_to,
        run,
        run_facts,
        running_agent,
        session_body,
        shown,
    )
    from agent.latency.connection_factory import ConnectionFactory
    from agent.latency.impairment import NetworkImpairment
    from agent.latency.load import CallerBehaviour, LoadTest
    from agent.latency.plan import LoadPlan, seconds
    from agent.latency.summary import summarise
    from agent.runtime import engine_names

    settings = settings_from(config, engines.settings())
    if url is None:
        engine_names.check(settings)  # in seconds here, not after the start of a server
    limits = _budget(budget)
    count = turns if turns or duration else DEFAULT_TURNS
    until = seconds(duration) if duration else None
    plan = LoadPlan(count, until, calls, rate, warmup, turns_per_call, seed)
    asked = _questions(questions)
    behaviour = CallerBehaviour(timeout, listen, interrupt)
    network = None if link is None else NetworkImpairment.parse(link)
    body = session_body(session)
    recordings = None if record is None else _directory(record)
    taken: list[TurnResult] = []
    with (
        rows_to(rows, as_json) as write,  # first: a file that cannot be written is told at once
        running_agent(url, transport, config, engines.arguments()) as address,
    ):
        write(run_facts(address, plan, network))
        connections = ConnectionFactory(transport, address, key, body, network, seed)
        with shown(plan, write, taken) as take:
            run(LoadTest(plan, asked, connections.new_connection, take, behaviour, recordings))
    summary = summarise(taken, seed)
    _conclude(summary, _word_error_rate(summary), limits, as_json)


def report(
    files: Annotated[
        list[Path], typer.Argument(help="Files of rows; each run is compared with the first.")
    ],
    budget: BudgetOption = None,
    seed: ReportSeedOption = 0,
    html: Annotated[
        Path | None, typer.Option(help="File for a page with tables and plots (HTML).")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Directory for the plots (PNG).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Report the latency of recorded runs: percentiles, comparison, plots, budget of the first.

    Examples:

        onebreath report run.jsonl --html report.html --budget total=1000

        onebreath report before.jsonl after.jsonl
    """
    from agent.latency.rows import read_run

    limits = _budget(budget)
    runs = [read_run(path) for path in files]
    for run in runs:
        if run.torn:
            err.print(
                f"note: the last row of {run.name} is incomplete and left out", style="yellow"
            )
    first, *others = (_part(run, runs[0], seed) for run in runs)
    if html is not None:
        from agent.latency.page import write_page

        write_page(html, [first, *others])
    if plots is not None:
        from agent.latency.page import write_plots

        write_plots(_directory(plots), runs)
    for part in others:
        _show_comparison(first, part, as_json)
    _conclude(first.summary, first.wer, limits, as_json)


def _part(run: RecordedRun, first: RecordedRun, seed: int) -> ReportPart:
    """Summarise a run and compare it with the first."""
    from agent.latency.compare import compare
    from agent.latency.page import ReportPart
    from agent.latency.summary import summarise

    summary = summarise(run.rows, seed)
    ratios = [] if run is first else compare(first.rows, run.rows, seed)
    return ReportPart(run, summary, _word_error_rate(summary), ratios)


def _show_comparison(first: ReportPart, second: ReportPart, as_json: bool) -> None:
    from agent.cli.tables import comparison_table, summary_view

    names = {"kind": "ratio", "first_run": first.run.name, "second_run": second.run.name}
    if as_json:
        for ratio in second.ratios:
            print(json.dumps(names | asdict(ratio) | {"verdict": ratio.verdict}))
        return
    out.print(f"[bold]{second.run.name}[/]", summary_view(second.summary, second.wer), "", sep="\n")
    out.print(comparison_table(second.ratios, first.run.name, second.run.name), "")
    out.print(f"[bold]{first.run.name}[/]")


def _conclude(summary: Summary, wer: float | None, limits: RunBudget | None, as_json: bool) -> None:
    """Print the summary; exit with 1 when a limit was exceeded or every turn failed."""
    from agent.cli.tables import summary_view

    overruns = [] if limits is None else limits.overruns(summary, wer)
    if as_json:
        missed = {"over_budget": [asdict(overrun) for overrun in overruns]}
        print(json.dumps(summary.to_row(wer) | missed, ensure_ascii=False), flush=True)
    else:
        out.print(summary_view(summary, wer))
    for overrun in overruns:
        err.print(f"over budget: {overrun}", style="red", soft_wrap=True, markup=False)
    raise typer.Exit(1 if overruns or summary.failed == summary.turns else 0)


def _word_error_rate(summary: Summary) -> float | None:
    from agent.latency.word_errors import word_error_rate

    try:
        return word_error_rate(summary.words)
    except ConfigError as error:  # the other figures do not need it
        err.print(f"note: {error}", style="yellow", soft_wrap=True, markup=False)
        return None


def _budget(text: str | None) -> RunBudget | None:
    from agent.latency.budget import RunBudget

    return None if text is None else RunBudget.parse(text)


def _questions(paths: list[Path] | None) -> list[SpokenQuestion]:
    from agent.latency.question import read_questions
    from agent.questions import bundled_questions

    return read_questions(
        paths or bundled_questions(),
        lambda note: err.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False),
    )


def _directory(path: Path) -> Path:
    """Make the directory if it does not exist."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(f"{path}: the directory cannot be made: {error.strerror}") from None
    return path
