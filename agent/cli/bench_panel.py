"""The command ``onebreath bench panel``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.bench.panel_script import CONVERSATIONS, Half
from agent.cli.console import ConfigOption, JsonOption, err, out, run_loop, settings_from
from agent.errors import ConfigError
from agent.latency.transport_names import TransportName

if TYPE_CHECKING:
    from agent.bench.panel import PanelCall


def panel(
    half: Annotated[
        Half, typer.Option(help="Half of the conversations; no rule is tuned on held-out.")
    ] = Half.BUILD,
    conversations: Annotated[
        int, typer.Option(min=1, max=CONVERSATIONS, help="Number of conversations, from the first.")
    ] = CONVERSATIONS,
    first: Annotated[
        int, typer.Option(min=1, max=CONVERSATIONS, help="Number of the first conversation.")
    ] = 1,
    at_once: Annotated[
        int, typer.Option(min=1, max=32, help="Number of concurrent conversations.")
    ] = 1,
    url: Annotated[
        str | None,
        typer.Option(help="Address of the agent. Default: start a server on this machine."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model for a Realtime server, added to its address.")
    ] = None,
    transport: Annotated[
        TransportName,
        typer.Option("--transport", "--wire", help="Transport and protocol of the agent."),
    ] = TransportName.REALTIME,
    key: Annotated[
        str | None,
        typer.Option(
            envvar="ONEBREATH_KEY",
            help="Credential: bearer token, stream token (twilio) or user:password (asterisk).",
        ),
    ] = None,
    session: Annotated[
        Path | None, typer.Option(help="JSON file with the body of a session.update to send first.")
    ] = None,
    endpoint: Annotated[
        bool,
        typer.Option(
            help="Also judge every pause of the turns with this machine's engines: false cut-offs "
            "at 300 ms, delay at 5 %."
        ),
    ] = False,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="File for the rows of all calls and events.")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Directory for stereo recordings of the calls (caller left)."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the interaction panel: conversations with pauses, interruptions, coughs, asides.

    A conversation takes about a minute. The caller's voices need espeak-ng.
    """
    from agent.bench.panel import (
        endpoint_points,
        events_scored,
        hold_all,
        speak_all,
        summary,
        write_recording,
    )
    from agent.bench.panel_script import conversations as scripts
    from agent.bench.rows import write_rows
    from agent.cli.latency_run import running_agent, session_body
    from agent.cli.tables import rows_table
    from agent.latency.connection_factory import ConnectionFactory

    settings = settings_from(config)
    if model is not None and url is None:
        raise ConfigError("--model names a model of the server at --url; give both")
    _check_places(rows, record)
    chosen = scripts(half, min(CONVERSATIONS, first - 1 + conversations))[first - 1 :]
    with err.status("loading") as status:
        spoken = speak_all(chosen, settings, status.update)
        points = endpoint_points(spoken, settings, status.update) if endpoint else {}
    calls: list[PanelCall] = []

    def take(call: PanelCall) -> None:
        calls.append(call)
        err.print(f"{call.script.name}: {call.error or 'done'}", style="dim")
        if record is not None:
            write_recording(record, call)
        if as_json:
            for row in call.rows():
                print(json.dumps(row, ensure_ascii=False), flush=True)

    with running_agent(url, transport, config, ()) as address:
        if model is not None:
            address += f"{'&' if '?' in address else '?'}model={model}"
        factory = ConnectionFactory(transport, address, key, session_body(session))
        run_loop(hold_all(factory.new_connection, spoken, at_once, take))
    table = summary(calls)
    table += [
        {"figure": name, "exact": value, "ticks": "", "n": ""} for name, value in points.items()
    ]
    if rows is not None:
        command = (
            f"onebreath bench panel --half {half} --first {first} --conversations {len(chosen)}"
        )
        every = [row for call in calls for row in call.rows()]
        write_rows(rows, [*every, *({"what": "figure", **row} for row in table)], command)
    if as_json:
        for row in table:
            print(json.dumps({"what": "figure", **row}, ensure_ascii=False))
    else:
        out.print(rows_table(table))
        out.print(f"{len(calls)} conversations, {events_scored(calls)} outcomes")
    raise typer.Exit(1 if all(call.error for call in calls) else 0)


def _check_places(rows: Path | None, record: Path | None) -> None:
    """Refuse places that cannot be written, before minutes of measuring."""
    if rows is not None and not rows.absolute().parent.is_dir():
        raise ConfigError(f"{rows}: name a file in a directory that exists")
    if record is not None:
        record.mkdir(parents=True, exist_ok=True)
