"""Around a run of ``onebreath latency``: the agent, the file of its rows, the progress."""

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
from agent.errors import CallError
from agent.latency.impairment import NetworkImpairment
from agent.latency.load import LoadTest
from agent.latency.plan import LoadPlan
from agent.latency.results import TurnResult
from agent.latency.rows import RowWriter, turn_row
from agent.latency.transport_names import TransportName

HERE = {
    TransportName.REALTIME: "ws://127.0.0.1:{port}/v1/realtime",
    TransportName.WEBRTC: "http://127.0.0.1:{port}",
    TransportName.TWILIO: "ws://127.0.0.1:{port}/telephony/twilio",
    TransportName.ASTERISK: "ws://127.0.0.1:{port}/telephony/asterisk",
}
"""Address of a server that is started here, by what it is to speak."""
UNGUARDED = {"ONEBREATH_TELEPHONY__REQUIRE_TOKEN": "false"}
"""No webhook issues tokens to a caller on this machine."""

Write = Callable[[Mapping[str, Any]], None]
Take = Callable[[TurnResult], None]


@contextmanager
def running_agent(
    url: str | None, wire: TransportName, config: Path | None, words: Sequence[str]
) -> Iterator[str]:
    """The address of the agent; without one, of a server in a process of its own."""
    if url is not None:
        yield url
        return
    with ExitStack() as stack:
        with err.status("loading") as status:
            variables = UNGUARDED if "telephony" in HERE[wire] else {}
            server = running_server(status.update, config=config, flags=words, variables=variables)
            port, _ = stack.enter_context(server)
        yield HERE[wire].format(port=port)


@contextmanager
def rows_to(path: Path | None, as_json: bool) -> Iterator[Write]:
    """Where rows go: a file, and standard output if that is what another program reads."""
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
        except CallError:  # not one call was answered
            path.unlink()
            raise
    err.print(f"rows are in {path}", highlight=False, soft_wrap=True)


def _print_row(row: Mapping[str, Any]) -> None:
    print(json.dumps(row, ensure_ascii=False), flush=True)


def run_facts(address: str, plan: LoadPlan, link: NetworkImpairment | None) -> dict[str, Any]:
    """The first line of a run: what was measured, from where."""
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
    """Progress in the terminal while rows are taken."""
    with run_progress(err) as progress:
        total = None if plan.turns is None else plan.turns + plan.warmup * plan.lines
        task = progress.add_task("the first question is being asked", total=total)

        def take(row: TurnResult) -> None:
            taken.append(row)
            write(turn_row(row))
            latency = "no reply" if row.total_ms is None else f"{row.total_ms:.0f} ms"
            told = f"turn {row.turn}: {row.error or latency}"
            progress.update(task, advance=1, description=told)

        yield take


def run(load: LoadTest) -> None:
    """Run; Ctrl-C ends it early, and what was measured counts."""
    try:
        run_loop(load.run())
    except KeyboardInterrupt:
        err.print("interrupted; these are the turns so far", style="yellow")
