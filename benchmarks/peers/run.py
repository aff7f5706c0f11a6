"""onebreath beside other voice agents: the same questions, models, machine and caller.

    python benchmarks/peers/run.py --turns 20 --json
    python benchmarks/peers/run.py --capacity 8 --agents onebreath pipecat --json

Every agent is called over its own wire by `onebreath latency`, which speaks its built-in questions
in real time and measures voice to voice at the ear; docs/latency.md defines the figure. All use
Whisper base in int8, SmolLM2-135M-Instruct Q4_1 (the others through llama.cpp's server) and the
Piper voice joe. The first two turns warm up and are left out. The agents run one after the other,
in `--rounds` rounds, in each of which the questions have another order. Their environments are made
on first use, under --cache; that takes a network.

`--capacity` finds how many calls at once are answered instead, with `onebreath bench capacity`.

`--json` prints every row as it comes; those of kind `summary` have versions and the command.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agents import AGENTS, Agent, Program, Setting
from platformdirs import user_cache_path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from agent.config.settings import INSTRUCTIONS  # noqa: E402
from agent.models import store  # noqa: E402
from agent.runtime.threads import cores  # noqa: E402

START_SECONDS = 240.0
LAST_SECONDS = 60.0
"""From the last row to the end of the caller."""
TURNS_FAILED = 1
"""Exit status of a caller some of whose turns had errors; the rows tell them."""
PORTS = 4
"""Ports that an agent may use."""

Row = dict[str, Any]


def free_ports() -> int:
    """The first of several free ports in a row."""
    for first in range(18_000, 60_000, 50):
        try:
            with ExitStack() as held:
                for port in range(first, first + PORTS):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        return first
    raise OSError("no free ports")


@contextmanager
def running(program: Program, log: Path) -> Iterator[None]:
    """A process that listens, until it is left."""
    with log.open("w") as out:
        process = subprocess.Popen(
            program.command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **program.variables},
        )
        try:
            await_ready(program, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def await_ready(program: Program, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"a program ended before it was ready; see {log}")
        if is_ready(program):
            return
        time.sleep(0.2)
    raise SystemExit(f"a program was not ready within {START_SECONDS:.0f} s; see {log}")


def is_ready(program: Program) -> bool:
    if program.ready is not None:
        try:
            url = f"http://127.0.0.1:{program.port}{program.ready}"
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", program.port)) == 0


def latency_of(turns: int, seed: int) -> list[str]:
    """Arguments of a run of so many turns."""
    return ["latency", "--turns", str(turns), "--warmup", "2", "--seed", str(seed)]


def capacity_of(most: int) -> list[str]:
    """Arguments of a search for the most calls at once."""
    return ["bench", "capacity", "--most", str(most)]


def rows_of(agent: Agent, setting: Setting, measures: list[str]) -> Iterator[Row]:
    """Start the agent and call it; the rows of the command that measures as they come."""
    programs = agent.programs(setting, free_ports())
    with ExitStack() as up:
        for number, program in enumerate(programs):
            up.enter_context(running(program, setting.cache / f"{agent.name}-{number}.log"))
        url = f"ws://127.0.0.1:{programs[-1].port}/v1/realtime"
        command = [sys.executable, "-m", "agent", *measures, "--url", url, "--json"]
        if agent.session is not None:
            session = setting.cache / f"{agent.name}-session.json"
            session.write_text(json.dumps(agent.session))
            command += ["--session", str(session)]
        calling = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        up.enter_context(calling)
        up.callback(calling.kill)
        assert calling.stdout is not None  # it is a pipe
        for line in calling.stdout:
            yield {"agent": agent.name, "about": agent.about, **json.loads(line)}
        if calling.wait(LAST_SECONDS) not in (0, TURNS_FAILED):
            raise SystemExit(f"the caller of {agent.name} failed; it says why above")


def command_of(agent: Agent, turns: int, seed: int) -> str:
    return f"python benchmarks/peers/run.py --agents {agent.name} --turns {turns} --seed {seed}"


def line_of(row: Row) -> str:
    """A summary in one line."""
    times = "  ".join(
        f"{name} {'n/a' if row[name] is None else format(row[name], '.0f')} ms"
        for name in ("p50", "p95", "max")
    )
    versions = " ".join(f"{name} {version}" for name, version in row["versions"].items())
    counts = f"{row['turns']} turns, {row['errors']} errors, {row['passed']}/{row['checked']} right"
    return f"{row['agent']:<24}{times}  {counts}  ({row['about']}) {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--turns", type=int, default=20, help="per agent and round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--capacity",
        type=int,
        metavar="MOST",
        help="find how many calls at once, of at most so many, are answered within a second",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first round's order")
    parser.add_argument("--cache", type=Path, default=user_cache_path("onebreath") / "peers")
    parser.add_argument("--threads", type=int, default=cores(), help="of llama.cpp's server")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    whisper, llm, voice = map(store.locate, ("whisper-base", "smollm2-135m-instruct", "joe"))
    setting = Setting(options.cache, whisper, llm, voice, INSTRUCTIONS, options.threads)
    chosen = [AGENTS[name] for name in options.agents]
    for environment in dict.fromkeys(each for agent in chosen for each in agent.environments):
        environment.ensure(options.cache)
    for number, seed in enumerate(range(options.seed, options.seed + options.rounds)):
        for agent in chosen:
            turns = latency_of(options.turns, seed)
            measures = turns if options.capacity is None else capacity_of(options.capacity)
            for row in rows_of(agent, setting, measures):
                if row.get("kind") == "summary":
                    packages = {
                        each.package: each.version(options.cache) for each in agent.environments
                    }
                    row |= {"versions": packages, "command": command_of(agent, options.turns, seed)}
                row["round"] = number + 1
                if options.json:
                    print(json.dumps(row, ensure_ascii=False), flush=True)
                elif row.get("kind") == "summary":
                    print(line_of(row), flush=True)
                elif row.get("what") == "capacity":
                    print(f"{row['agent']:<24}{row['calls']} calls at once", flush=True)


if __name__ == "__main__":
    main()
