"""Set-up of a run of ``onebreath latency``: the agent, the file of rows, the progress bar."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.bench.server_process import running_server
from agent.cli.console import err, run_loop
from agent.cli.tables import run_progress
from agent.doctor.readings import own_version
from agent.errors import CallError, ConfigError
from agent.latency.impairment import NetworkImpairment
from agent.latency.load import LoadTest
from agent.latency.plan import LoadPlan
from agent.latency.results import TurnResult
from agent.latency.rows import RowWriter, turn_row
from agent.latency.transport_names import TransportName

LOCAL_URLS = {
    TransportName.REALTIME: "ws://127.0.0.1:{port}/v1/realtime",
    TransportName.WEBRTC: "http://127.0.0.1:{port}",
    TransportName.TWILIO: "ws://127.0.0.1:{port}/telephony/twilio",
    TransportName.ASTERISK: "ws://127.0.0.1:{port}/telephony/asterisk",
}
"""Address of a server that is started on this machine, by transport."""
WITHOUT_TOKENS = {"ONEBREATH_TELEPHONY__REQUIRE_TOKEN": "false"}
"""Environment of a local telephony server: no webhook issues tokens to the test caller."""

Write = Callable[[Mapping[str, Any]], None]
Take = Callable[[TurnResult], None]


@contextmanager
def running_agent(
    url: str | None, transport: TransportName, config: Path | None, arguments: Sequence[str]
) -> Iterator[str]:
    """Yield ``url``, or without one the address of a server in a process of its own.

    Args:
        url: address of a running agent, if there is one.
        transport: transport of the agent.
        config: settings file of the server.
        arguments: command-line arguments of the server.

    Raises:
        CallError: the server does not start.
    """
    if url is not None:
        yield url
        return
    with ExitStack() as stack:
        with err.status("loading") as status:
            variables = WITHOUT_TOKENS if "telephony" in LOCAL_URLS[transport] else {}
            server = running_server(
                status.update, config=config, flags=arguments, variables=variables
            )
            port, _ = stack.enter_context(server)
        yield LOCAL_URLS[transport].format(port=port)


@contextmanager
def rows_to(path: Path | None, as_json: bool) -> Iterator[Write]:
    """Yield a function that writes a row to a file, to standard output, or to both.

    Args:
        path: file for the rows; None: standard output with ``as_json``, else a new file.
        as_json: whether rows go to standard output as well.

    Raises:
        ConfigError: the file exists already or cannot be written.
    """
    if as_json and path is None:
        yield _print_row
        return
    path = path or Path(time.strftime("latency-%Y%m%d-%H%M%S.jsonl"))
    with RowWriter(path) as writer:

        def write(row: Mapping[str, Any]) -> None:
            writer.write(row)
            if as_json:
                _print_row(row)

        try:
            yield write
        except CallError:  # no call was answered
            path.unlink()
            raise
    err.print(f"rows written to {path}", highlight=False, soft_wrap=True)


def _print_row(row: Mapping[str, Any]) -> None:
    print(json.dumps(row, ensure_ascii=False), flush=True)


def run_facts(address: str, plan: LoadPlan, link: NetworkImpairment | None) -> dict[str, Any]:
    """First row of a run: version, time, address, plan, network and machine."""
    return {
        "kind": "run",
        "version": own_version(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "url": address.partition("?")[0],
        "plan": asdict(plan),
        "link": None if link is None else asdict(link),
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
    }


@contextmanager
def shown(plan: LoadPlan, write: Write, taken: list[TurnResult]) -> Iterator[Take]:
    """Show progress in the terminal; yield a function that takes the result of each turn.

    Args:
        plan: plan of the run.
        write: writes a row.
        taken: list that collects the results.
    """
    with run_progress(err) as progress:
        total = None if plan.turns is None else plan.turns + plan.warmup * plan.callers
        task = progress.add_task("asking the first question", total=total)

        def take(row: TurnResult) -> None:
            taken.append(row)
            write(turn_row(row))
            latency = "no reply" if row.total_ms is None else f"{row.total_ms:.0f} ms"
            outcome = f"turn {row.turn}: {row.error or latency}"
            progress.update(task, advance=1, description=outcome)

        yield take


def run(load: LoadTest) -> None:
    """Run the load test; Ctrl-C ends it early and keeps the turns so far."""
    try:
        run_loop(load.run())
    except KeyboardInterrupt:
        err.print("interrupted; the summary covers the turns so far", style="yellow")


def session_body(path: Path | None) -> dict[str, Any] | None:
    """Read the body of a ``session.update``; None without a file.

    Raises:
        ConfigError: the file cannot be read, or holds no JSON object.
    """
    if path is None:
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(body, dict):
        raise ConfigError(
            f'{path}: this file must hold a session object, as in {{"type": "realtime", ...}}'
        )
    return body
