"""The commands that measure agents: latency, report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

BudgetOption = Annotated[
    str | None,
    typer.Option(help="Exit with 1 beyond it: total=800,asr.p50=200,wer=0.1,errors=0."),
]
SeedOption = Annotated[int, typer.Option(help="Of everything that is drawn at random.")]


@takes_engines
def latency(
    *,
    engines: EngineChoice,
    questions: Annotated[
        list[Path] | None, typer.Argument(help="Recordings, or directories; default: built in.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Agent; without it one is started here.")] = None,
    wire: Annotated[
        TransportName, typer.Option(help="What the agent speaks.")
    ] = TransportName.REALTIME,
    key: Annotated[
        str | None, typer.Option(envvar="ONEBREATH_KEY", help="Bearer token of the agent.")
    ] = None,
    session: Annotated[
        Path | None, typer.Option(help="JSON file: session.update to send at first.")
    ] = None,
    turns: Annotated[int | None, typer.Option(min=1, help="Over all calls; default 20.")] = None,
    duration: Annotated[str | None, typer.Option(help="Stop after 24h, 1h30m, 90s.")] = None,
    calls: Annotated[int, typer.Option(min=1, max=1000, help="Calls at the same time.")] = 1,
    rate: Annotated[
        float | None, typer.Option(help="Open loop: turns per minute over all calls.")
    ] = None,
    warmup: Annotated[int, typer.Option(min=0, help="First turns of each that do not count.")] = 1,
    turns_per_call: Annotated[int, typer.Option(min=1, max=200, help="Then dial again.")] = 10,
    seed: SeedOption = 0,
    link: Annotated[
        str | None, typer.Option(help="Simulated, each way: delay=50,jitter=20,loss=1.")
    ] = None,
    interrupt: Annotated[
        float | None, typer.Option(min=0.0, help="Speak into each reply after so many seconds.")
    ] = None,
    listen: Annotated[
        float, typer.Option(min=0.0, help="Seconds in which the agent may greet.")
    ] = 0.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a reply.")] = 20.0,
    rows: Annotated[
        Path | None, typer.Option("--out", help="File for the rows; default latency-TIME.jsonl.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Directory for stereo recordings of the calls.")
    ] = None,
    budget: BudgetOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure an agent from its caller's end: any agent, by URL, or one that is started here."""
    from agent.cli.latency_run import rows_to, run, run_facts, running_agent, shown
    from agent.latency.connection_factory import ConnectionFactory
    from agent.latency.impairment import NetworkImpairment
    from agent.latency.load import CallerBehaviour, LoadTest
    from agent.latency.plan import LoadPlan, seconds
    from agent.latency.summary import summarise

    settings_from(config)
    limits = _budget(budget)
    count = turns if turns or duration else DEFAULT_TURNS
    until = seconds(duration) if duration else None
    plan = LoadPlan(count, until, calls, rate, warmup, turns_per_call, seed)
    asked = _questions(questions)
    habits = CallerBehaviour(timeout, listen, interrupt)
    network = None if link is None else NetworkImpairment.parse(link)
    body = _session(session)
    recordings = None if record is None else _directory(record)
    taken: list[TurnResult] = []
    with (
        running_agent(url, wire, config, engines.words()) as address,
        rows_to(rows, as_json) as write,
    ):
        write(run_facts(address, plan, network))
        dialling = ConnectionFactory(wire, address, key, body, network, seed)
        with shown(plan, write, taken) as take:
            run(LoadTest(plan, asked, dialling.wire, take, habits, recordings))
    summary = summarise(taken, seed)
    _conclude(summary, _word_error_rate(summary), limits, as_json)


def report(
    files: Annotated[list[Path], typer.Argument(help="Rows; all are compared to the first.")],
    budget: BudgetOption = None,
    seed: SeedOption = 0,
    html: Annotated[Path | None, typer.Option(help="Write one page with tables and plots.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Directory for plots as PNG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read the rows of runs: percentiles, plots, comparison, budget of the first."""
    from agent.latency.rows import read_run

    limits = _budget(budget)
    runs = [read_run(path) for path in files]
    for run in runs:
        if run.torn:
            err.print(f"note: {run.name} ends within a row, which is left out", style="yellow")
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
    """A run in figures, and against the first."""
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
    """Print the summary; exits with 1 when a limit was missed or nothing was answered."""
    from agent.cli.tables import summary_view

    overruns = [] if limits is None else limits.overruns(summary, wer)
    if as_json:
        missed = {"over_budget": [asdict(overrun) for overrun in overruns]}
        print(json.dumps(summary.to_row(wer) | missed, ensure_ascii=False), flush=True)
    else:
        out.print(summary_view(summary, wer))
    for overrun in overruns:
        err.print(f"over budget: {overrun}", style="red", soft_wrap=True)
    raise typer.Exit(1 if overruns or summary.failed == summary.turns else 0)


def _word_error_rate(summary: Summary) -> float | None:
    from agent.latency.word_errors import word_error_rate

    try:
        return word_error_rate(summary.words)
    except ConfigError as error:  # everything else can be reported without it
        err.print(f"note: {error}", style="yellow", soft_wrap=True)
        return None


def _budget(text: str | None) -> RunBudget | None:
    from agent.latency.budget import RunBudget

    return None if text is None else RunBudget.parse(text)


def _questions(paths: list[Path] | None) -> list[SpokenQuestion]:
    from agent.latency.question import read_questions
    from agent.questions import bundled_questions

    return read_questions(
        paths or bundled_questions(),
        lambda note: err.print(f"note: {note}", style="yellow", soft_wrap=True),
    )


def _session(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(body, dict):
        raise ConfigError(f'{path}: write the session, as in {{"type": "realtime", ...}}')
    return body


def _directory(path: Path) -> Path:
    """Make it, if it is not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(f"{path}: this directory cannot be made: {error.strerror}") from None
    return path
