"""The command ``onebreath bench echo``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.bench_output import RowKeeper
from agent.cli.console import ConfigOption, JsonOption, err, settings_from, without_call_lines
from agent.errors import ConfigError


def echo(
    minutes: Annotated[
        float,
        typer.Option(min=0.1, max=600, help="Minutes of agent's speech, over all rooms."),
    ] = 20.0,
    interruptions: Annotated[
        int, typer.Option(min=0, max=1000, help="Real interruptions, over all rooms.")
    ] = 96,
    rows: Annotated[Path | None, typer.Option("--rows", help="File for the rows.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure whether the agent hears itself from a loudspeaker, and still hears its caller.

    Echoes of 20 to 300 ms and -6 to -30 dB, by a loudspeaker that distorts, through the real VAD
    and recogniser, on a clock that counts the CPU time of the engines. Linux only.
    """
    from agent.bench.echo import run_echo_bench

    settings = settings_from(config)
    if sys.platform != "linux":
        raise ConfigError("bench echo reads the CPU clock of another process, as Linux has it")
    command = f"onebreath bench echo --minutes {minutes:g} --interruptions {interruptions}"
    kept = RowKeeper(rows, command, as_json)
    with without_call_lines(), err.status("loading") as status:
        for row in run_echo_bench(settings, minutes, interruptions, status.update):
            kept.take(row)
    kept.show(kept.table[:-1], kept.table[-1:])
    raise typer.Exit(0 if kept.table[-1]["met"] else 1)
