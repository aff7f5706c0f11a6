"""The command ``onebreath bench network``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.bench_output import RowKeeper
from agent.cli.console import ConfigOption, JsonOption, err, settings_from, without_call_lines
from agent.errors import ConfigError
from agent.latency.transport_names import TransportName

MEASURED = (TransportName.WEBRTC, TransportName.REALTIME)


def network(
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--conditions",
            help="Name of a network, such as clean, loss-5, jitter-200, 64-kbit or stall-3s. May "
            "be repeated. Default: all.",
        ),
    ] = None,
    questions: Annotated[
        int, typer.Option(min=1, max=20, help="Number of spoken questions in each call.")
    ] = 20,
    transport: Annotated[
        list[TransportName] | None,
        typer.Option(
            help="Transport: webrtc, or realtime (the websocket). May be repeated. Default: both."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of losses, delays and their order.")] = 0,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows",
            help="File for the rows. Calls that it already has are not held again, where they were "
            "of the same number of questions, seed and commit.",
        ),
    ] = None,
    virtual: Annotated[
        bool,
        typer.Option(
            "--virtual",
            help="Hold the calls in virtual time, in which work takes its CPU time: the figures do "
            "not depend on other programs. Linux only.",
        ),
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure calls over bad networks: loss in bursts, jitter, disorder, a slow link, stalls.

    The caller talks to a server on this machine through a relay that loses and delays packets.
    Nothing but the engines of the server is needed; a call of 20 questions takes about two
    minutes, or up to seven where nothing gets through, and with --virtual about one. With --rows
    it may be held in parts.
    """
    from agent.bench.network import conditions_of, run_network_bench
    from agent.bench.network_virtual import run_virtually

    settings = settings_from(config)
    if virtual and sys.platform != "linux":
        raise ConfigError("--virtual reads the CPU clock of another process, as Linux has it")
    networks = conditions_of(conditions or [])
    transports = transport or list(MEASURED)
    for name in transports:
        if name not in MEASURED:
            raise ConfigError(f"--transport: {name} is not measured here; choose webrtc, realtime")
    command = f"onebreath bench network --questions {questions} --seed {seed}"
    command += " --virtual" if virtual else ""
    kept = RowKeeper(rows, command, as_json, resumes=True)
    done = {(row["transport"], row["condition"]) for row in kept.table}
    planned = [(way, each) for way in transports for each in networks]
    left = [(way, each) for way, each in planned if (str(way), each.name) not in done]
    if left:
        with err.status("loading") as status:

            def progress(step: str) -> None:
                status.update(step)
                if not err.is_terminal:
                    err.print(step)

            if virtual:
                with without_call_lines():
                    for call in run_virtually(left, questions, seed, settings, progress):
                        kept.take(call.row())
            else:
                for call in run_network_bench(left, questions, seed, config, progress):
                    kept.take(call.row())
    kept.show()
    raise typer.Exit(1 if all(row["error"] for row in kept.table) else 0)
