"""The command ``onebreath bench capacity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.cli.agent_options import KeyOption, SessionOption, TransportOption, UrlOption
from agent.cli.bench_output import RowKeeper
from agent.cli.console import ConfigOption, JsonOption, err, settings_from
from agent.errors import ConfigError
from agent.latency.transport_names import TransportName


def capacity(
    workers: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=64,
            help="Number of processes of the server. May be repeated. Default: 1 and 2.",
        ),
    ] = None,
    url: UrlOption = None,
    transport: TransportOption = TransportName.REALTIME,
    key: KeyOption = None,
    session: SessionOption = None,
    limit_ms: Annotated[
        float, typer.Option(min=1, help="Milliseconds of voice to voice, at the 95th percentile.")
    ] = 1000.0,
    most: Annotated[int, typer.Option(min=1, max=200, help="Largest number of calls to try.")] = 16,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="Duration of the measurement at each number.")
    ] = 60.0,
    rows: Annotated[Path | None, typer.Option(help="File for the rows of all numbers.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find how many spoken calls at once are answered within a limit.

    Exits with 1 where not even one call is.
    """
    from agent.bench.capacity import Search, run_capacity_bench, run_capacity_bench_of
    from agent.cli.latency_run import session_body
    from agent.latency.connection_factory import ConnectionFactory

    settings_from(config)
    if url is not None and workers:
        raise ConfigError("--workers starts servers on this machine; leave --url out")
    # A key may come from the environment, for other commands.
    if url is None and (session, transport) != (None, TransportName.REALTIME):
        raise ConfigError("--transport and --session are for the agent at --url; name it")
    body = session_body(session)
    counts = workers or [1, 2]
    search_of = "".join(f" --workers {count}" for count in counts) if url is None else " --url URL"
    command = f"onebreath bench capacity{search_of} --limit-ms {limit_ms:g} --most {most}"
    kept = RowKeeper(rows, f"{command} --seconds {seconds:g}", as_json)
    search = Search(limit_ms, most, seconds)
    with err.status("loading") as status:
        if url is None:
            run_capacity_bench(counts, search, config, kept.take, status.update)
        else:
            agent = ConnectionFactory(transport, url, key, body)
            run_capacity_bench_of(agent, search, kept.take, status.update)
    found = [row for row in kept.table if row["what"] == "capacity"]
    kept.show([row for row in kept.table if row["what"] == "trial"], found)
    raise typer.Exit(0 if all(row["calls"] for row in found) else 1)
