"""The command ``onebreath bench soak``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.bench_output import RowKeeper, show_rows
from agent.cli.console import ConfigOption, JsonOption, err, out, settings_from, without_call_lines
from agent.errors import ConfigError

if TYPE_CHECKING:
    from agent.bench.soak import HeldCall, Usage


def soak(
    calls: Annotated[int, typer.Option(min=2, max=100_000, help="Number of calls.")] = 1000,
    first: Annotated[
        int,
        typer.Option(min=1, help="Number of the first call, to go on where another run stopped."),
    ] = 1,
    at_once: Annotated[int, typer.Option(min=1, max=32, help="Number of concurrent calls.")] = 4,
    rows: Annotated[
        Path | None, typer.Option("--rows", help="File for the rows of all calls, as they end.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold many short calls and tell what got stuck, what was lost and what grew.

    Turns, noise, empty turns, interruptions, requests for a function and callers who hang up,
    to the real engines, on a clock that counts their CPU time. The callers' voices need espeak-ng.
    Ctrl-C ends it early, with the figures so far. Linux only.
    """
    from agent.bench import soak as bench
    from agent.bench.soak_script import CallDraw, acts_of
    from agent.bench.virtual_call import measured_engines
    from agent.bench.virtual_time import in_virtual_time

    if sys.platform != "linux":
        raise ConfigError("bench soak reads the CPU clock of another process, as Linux has it")
    settings = bench.soak_settings(settings_from(config))
    at_once = min(at_once, settings.server.max_calls)
    command = f"onebreath bench soak --calls {calls} --first {first} --at-once {at_once}"
    kept = RowKeeper(rows, command, as_json=False)  # the calls are for the file only
    found = bench.Soak()

    def take(one: HeldCall | Usage) -> None:
        found.take(one)
        kept.take(one.row() if isinstance(one, bench.HeldCall) else found.usage_rows()[-1])
        if isinstance(one, bench.HeldCall) and (
            why := one.stuck or one.error or "; ".join(one.told)
        ):
            err.print(f"call {one.drawn.number}: {why}")

    with err.status("loading") as status:
        spoken = bench.speak_acts(settings, status.update)
    numbers = range(first, first + calls)
    with without_call_lines(), measured_engines(settings, err.print) as engines:
        try:
            in_virtual_time(bench.soak(engines, settings, CallDraw(spoken), numbers, at_once, take))
        except KeyboardInterrupt:
            err.print(f"stopped after {len(found.calls)} calls")
    summary = found.summary()
    kept.take(summary)
    if as_json:
        show_rows([*found.usage_rows(), summary], as_json)
    else:
        show_rows(found.usage_rows(), as_json)
        show_rows([summary], as_json)
        acts = acts_of(call.drawn for call in found.calls)
        out.print(", ".join(f"{count} {name}" for name, count in acts.most_common()))
    raise typer.Exit(0 if found.met else 1)
