"""onebreath beside other voice agents: the same questions, models, machine and caller.

    python benchmarks/peers/run.py --turns 20 --json

Every agent is called over its own wire by `onebreath call`, which speaks bundled questions in real
time and measures voice to voice at the ear; docs/latency.md defines the figure. All use Whisper
base in int8, SmolLM2-135M-Instruct Q4_1 (the others through llama.cpp's server) and the Piper voice
joe. The first turn of each call warms up and is left out. The agents run one after the other, in
`--rounds` rounds. Their environments are made on first use, under --cache; that takes a network.

`--json` prints a row for each turn as it comes, then a summary for each agent with the command to
take its figures again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from agents import AGENTS, Agent, Program, Setting
from platformdirs import user_cache_path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from agent import models  # noqa: E402
from agent.config import INSTRUCTIONS  # noqa: E402
from agent.questions import bundled_questions  # noqa: E402
from agent.threads import cores  # noqa: E402

START_SECONDS = 240.0
TURN_SECONDS = 60.0
"""Longest turn: the caller itself gives up on a reply before."""
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
            await_port(program.port, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"a program ended before it was ready; see {log}")
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit(f"a program was not ready within {START_SECONDS:.0f} s; see {log}")


def turns_of(agent: Agent, setting: Setting, turns: int) -> Iterator[Row]:
    """Start the agent and call it; the rows of ``onebreath call`` as they come, but the first."""
    programs = agent.programs(setting, free_ports())
    with ExitStack() as up:
        for number, program in enumerate(programs):
            up.enter_context(running(program, setting.cache / f"{agent.name}-{number}.log"))
        questions = bundled_questions()
        asked = [str(questions[number % len(questions)]) for number in range(turns + 1)]
        url = f"ws://127.0.0.1:{programs[-1].port}/v1/realtime"
        command = [sys.executable, "-m", "agent", "call", *asked, "--url", url, "--json"]
        calling = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        up.callback(calling.kill)
        assert calling.stdout is not None  # it is a pipe
        for number, line in enumerate(calling.stdout):
            if number > 0:
                yield {"kind": "turn", "agent": agent.name, **json.loads(line)}
        calling.wait(TURN_SECONDS)


def summary(agent: Agent, rows: list[Row], setting: Setting) -> Row:
    expected = json.loads((bundled_questions()[0].parent / "expected.json").read_text())
    times = [row["voice_to_voice_ms"] for row in rows if row["voice_to_voice_ms"] is not None]
    heard = sum(words(row["heard"]) == words(expected[Path(row["file"]).stem]) for row in rows)
    shares = {"p50": 0.5, "p90": 0.9, "max": 1.0}
    quantiles = {
        name: float(np.quantile(times, share, method="inverted_cdf")) if times else None
        for name, share in shares.items()
    }
    return {
        "kind": "summary",
        "agent": agent.name,
        "about": agent.about,
        **quantiles,
        "turns": len(rows),
        "errors": sum(row["error"] is not None for row in rows),
        "heard_right": heard,
        "versions": {each.package: each.version(setting.cache) for each in agent.environments},
        "command": f"python benchmarks/peers/run.py --agents {agent.name} --turns {len(rows)}",
    }


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def line_of(row: Row) -> str:
    times = "  ".join(
        f"{name} {'n/a' if row[name] is None else format(row[name], '.0f')} ms"
        for name in ("p50", "p90", "max")
    )
    versions = " ".join(f"{name} {version}" for name, version in row["versions"].items())
    counts = f"{row['turns']} turns, {row['errors']} errors, {row['heard_right']} heard right"
    return f"{row['agent']:<24}{times}  {counts}  ({row['about']}) {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--turns", type=int, default=20, help="per agent and round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=user_cache_path("onebreath") / "peers")
    parser.add_argument("--threads", type=int, default=cores(), help="of llama.cpp's server")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    whisper, llm, voice = map(models.locate, ("whisper-base", "smollm2-135m-instruct", "joe"))
    setting = Setting(options.cache, whisper, llm, voice, INSTRUCTIONS, options.threads)
    chosen = [AGENTS[name] for name in options.agents]
    for environment in dict.fromkeys(each for agent in chosen for each in agent.environments):
        environment.ensure(options.cache)
    print(f"{shlex.join(sys.argv)}", file=sys.stderr)
    rows: dict[str, list[Row]] = {agent.name: [] for agent in chosen}
    for _ in range(options.rounds):
        for agent in chosen:
            for row in turns_of(agent, setting, options.turns):
                rows[agent.name].append(row)
                print(
                    json.dumps(row)
                    if options.json
                    else f"  {row['agent']} {row['turn']}: "
                    f"{row['voice_to_voice_ms']} ms  {row['heard']!r}",
                    flush=True,
                )
    for agent in chosen:
        found = summary(agent, rows[agent.name], setting)
        print(json.dumps(found) if options.json else line_of(found))


if __name__ == "__main__":
    main()
