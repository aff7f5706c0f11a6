"""The command ``onebreath bench capacity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.agent_options import KeyOption, SessionOption, TransportOption, UrlOption
from agent.cli.bench_output import check_file, show_rows
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
    from agent.bench.rows import append_rows, write_rows
    from agent.cli.latency_run import session_body
    from agent.latency.connection_factory import ConnectionFactory

    settings_from(config)
    check_file(rows)
    if url is not None and workers:
        raise ConfigError("--workers starts servers on this machine; leave --url out")
    if url is None and (session, key, transport) != (None, None, TransportName.REALTIME):
        raise ConfigError("--transport, --key and --session are for the agent at --url; name it")
    body = session_body(session)
    counts = workers or [1, 2]
    if rows is not None:
        search_of = "".join(f" --workers {count}" for count in counts) if url is None else ""
        command = f"onebreath bench capacity{search_of} --limit-ms {limit_ms:g} --most {most}"
        write_rows(rows, [], f"{command} --seconds {seconds:g}")
    table: list[dict[str, Any]] = []

    def take(row: dict[str, Any]) -> None:
        table.append(row)
        if rows is not None:
            append_rows(rows, [row])
        if as_json:
            show_rows([row], as_json=True)

    search = Search(limit_ms, most, seconds)
    with err.status("loading") as status:
        if url is None:
            run_capacity_bench(counts, search, config, take, status.update)
        else:
            agent = ConnectionFactory(transport, url, key, body)
            run_capacity_bench_of(agent, search, take, status.update)
    if not as_json:
        show_rows((row for row in table if row["what"] == "trial"), as_json=False)
        show_rows((row for row in table if row["what"] == "capacity"), as_json=False)
    found = [row["calls"] for row in table if row["what"] == "capacity"]
    raise typer.Exit(0 if all(found) else 1)
