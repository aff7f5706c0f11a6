"""The command ``onebreath bench panel``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, urlsplit

import typer

from agent.bench.panel_script import CONVERSATIONS, Half
from agent.cli.agent_options import (
    KeyOption,
    RecordOption,
    SessionOption,
    TransportOption,
    UrlOption,
)
from agent.cli.console import ConfigOption, JsonOption, err, out, run_loop, settings_from
from agent.cli.places import check_file
from agent.errors import ConfigError
from agent.latency.transport_names import TransportName

if TYPE_CHECKING:
    from agent.bench.panel import PanelCall
    from agent.bench.panel_voices import SpokenConversation
    from agent.config.settings import Settings


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
    url: UrlOption = None,
    model: Annotated[
        str | None, typer.Option(help="Model for a Realtime server, added to its address.")
    ] = None,
    transport: TransportOption = TransportName.REALTIME,
    key: KeyOption = None,
    session: SessionOption = None,
    virtual: Annotated[
        bool,
        typer.Option(
            help="Run the agent in this process on a clock that counts the CPU time of its engines "
            "(one thread each): for machines that do other things, too. Linux only."
        ),
    ] = False,
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
    record: RecordOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the interaction panel: conversations with pauses, interruptions, coughs, asides.

    A conversation takes about a minute. The caller's voices need espeak-ng.
    """
    from agent.bench import panel as bench
    from agent.bench.panel_script import conversations as scripts
    from agent.bench.rows import append_rows, write_rows
    from agent.cli.latency_run import session_body
    from agent.cli.tables import RowsTable

    settings = settings_from(config)
    if model is not None and url is None:
        raise ConfigError("--model names a model of the server at --url; give both")
    if virtual and (url is not None or transport is not TransportName.REALTIME):
        raise ConfigError("--virtual starts its own agent; leave --url and --transport out")
    if url is not None:
        _check_address(url)
    _check_places(rows, record)
    body = session_body(session)
    chosen = scripts(half, min(CONVERSATIONS, first - 1 + conversations))[first - 1 :]
    calls: list[PanelCall] = []

    def take(call: PanelCall) -> None:
        calls.append(call)
        err.print(f"{call.script.name}: {call.error or 'done'}", style="dim")
        if record is not None:
            bench.write_recording(record, call)
        if rows is not None:
            append_rows(rows, call.rows())
        if as_json:
            _print_rows(call.rows())

    if rows is not None:
        command = f"onebreath bench panel --half {half} --first {first}"
        command += f" --conversations {len(chosen)}{' --virtual' if virtual else ''}"
        write_rows(rows, [], command)

    with err.status("loading") as status:
        spoken = bench.speak_all(chosen, settings, status.update)
        points = bench.endpoint_points(spoken, settings, status.update) if endpoint else {}
    if virtual:
        _hold_virtually(settings, spoken, at_once, take)
    else:
        place = _Place(url, model, transport, key, body, config)
        _hold_live(place, spoken, at_once, take)
    table = [*bench.summary(calls), *({"figure": k, "exact": v} for k, v in points.items())]
    figures = [{"what": "figure", **row} for row in table]
    if rows is not None:
        append_rows(rows, figures)
    if as_json:
        _print_rows(figures)
    else:
        out.print(RowsTable(table))
        out.print(f"{len(calls)} conversations, {bench.events_scored(calls)} outcomes")
    raise typer.Exit(1 if all(call.error for call in calls) else 0)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the agent is; see the options of `panel`."""

    url: str | None
    model: str | None
    transport: TransportName
    key: str | None
    session: Mapping[str, object] | None
    config: Path | None


def _check_address(url: str) -> None:
    """Refuse what is no address before the voices are made."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss", "http", "https") or not parts.hostname:
        raise ConfigError(
            f"--url takes an address such as ws://127.0.0.1:8080/v1/realtime, not {url!r}"
        )


def _hold_live(
    place: _Place,
    spoken: Sequence[SpokenConversation],
    at_once: int,
    take: Callable[[PanelCall], None],
) -> None:
    """Hold the conversations in real time with the agent at ``place``."""
    from agent.bench.panel import hold_all
    from agent.cli.latency_run import running_agent
    from agent.latency.connection_factory import ConnectionFactory

    with running_agent(place.url, place.transport, place.config, ()) as address:
        if place.model is not None:
            address += f"{'&' if '?' in address else '?'}model={quote(place.model)}"
        factory = ConnectionFactory(place.transport, address, place.key, place.session)
        run_loop(hold_all(factory.new_connection, spoken, at_once, take))


def _hold_virtually(
    settings: Settings,
    spoken: Sequence[SpokenConversation],
    at_once: int,
    take: Callable[[PanelCall], None],
) -> None:
    """Hold the conversations in virtual time with an agent in this process."""
    from agent.bench.panel import hold_all
    from agent.bench.virtual_call import VirtualConnection, measured_engines
    from agent.bench.virtual_time import in_virtual_time

    if sys.platform != "linux":
        raise ConfigError("--virtual reads the CPU clock of another process, as Linux has it")
    with measured_engines(settings, err.print) as engines:
        in_virtual_time(
            hold_all(lambda: VirtualConnection(engines, settings), spoken, at_once, take)
        )


def _print_rows(rows: Iterable[Mapping[str, object]]) -> None:
    for row in rows:
        print(json.dumps(row, ensure_ascii=False), flush=True)


def _check_places(rows: Path | None, record: Path | None) -> None:
    """Refuse places that cannot be written, before minutes of measuring."""
    check_file(rows)
    if record is not None:
        record.mkdir(parents=True, exist_ok=True)
