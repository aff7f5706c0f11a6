"""Every command, flag and argument with wrong, missing and absurd input: a sentence and exit 2.

Commands and their parameters are found by walking the command line, so a new one is swept as soon
as it exists.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest
import typer

from agent.cli.main import app

ROOT = Path(__file__).parents[1]
CLASSES = re.compile(r"(asr|responder|tts)$")
LONGEST_ANSWER = 12
"""Lines: typer draws a box around what is wrong with an option."""


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator:
    if below := getattr(command, "commands", None):
        for name, each in below.items():
            yield from commands(each, (*path, name))
    else:
        yield path, command


COMMANDS = dict(commands(typer.main.get_command(app)))


def wrong_values(parameter: click.Parameter) -> list[str]:
    """Values that the parameter cannot have."""
    kind = parameter.type
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return ["many", "1e999x"] + (["-1"] if getattr(kind, "min", None) is not None else [])
    if isinstance(kind, click.Choice):
        return ["no such choice"]
    if parameter.name in ("config", "session", "prices"):
        return ["/nowhere/at/all", str(ROOT)]
    if CLASSES.fullmatch(parameter.name or ""):
        return ["json:JSONDecoder", "no_such_engine", "nowhere:Class", ":", "json:nothing"]
    if parameter.name in ("model", "voice", "asr_model"):
        return ["no-such-model", "/nowhere/model.gguf"]
    if parameter.name == "budget":
        return ["foo=1", "total", "total=fast", "=", "total.p51=1"]
    if parameter.name in ("link", "duration"):
        return ["nonsense"]
    return []


def required(command: click.Command) -> list[str]:
    """Something for every argument that must be given, so that the fault is the option's."""
    given = []
    for parameter in command.params:
        if not parameter.required:
            continue
        value = str(ROOT / "agent" / "questions" / "two_plus_two.wav")
        if isinstance(parameter, click.Option):
            given += [parameter.opts[0]]
        given += [value]
    return given


def mistakes() -> Iterator[tuple[str, ...]]:
    for path, command in COMMANDS.items():
        yield (*path, "--no-such-flag")
        yield (*path, *["surplus"] * 9)
        if any(parameter.required for parameter in command.params):
            yield path
        for parameter in command.params:
            for value in wrong_values(parameter):
                if isinstance(parameter, click.Option):
                    yield (*path, *required(command), parameter.opts[0], value)
    yield ("no-such-command",)
    yield ("call", "/nowhere.wav")
    yield ("call", str(ROOT / "README.md"))
    yield ("reply", "")
    yield ("report", "/nowhere.jsonl")
    yield ("report", str(ROOT / "README.md"))
    yield ("models", "no-such-model")


def run(words: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    return subprocess.run(
        [sys.executable, "-m", "onebreath", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def fault(words: tuple[str, ...], folder: Path) -> str | None:
    """What is wrong with the answer to a mistake; None if it is a sentence."""
    try:
        done = run(words, folder)
    except subprocess.TimeoutExpired:
        return f"{' '.join(words)}: went on for two minutes"
    said = done.stderr.strip()
    if "Traceback" in done.stdout + said:
        return f"{' '.join(words)}: a traceback: {said.splitlines()[-1]}"
    if done.returncode != 2:
        return f"{' '.join(words)}: exit {done.returncode}: {done.stdout[-200:]} {said[-200:]}"
    if not said or len(said.splitlines()) > LONGEST_ANSWER:
        return f"{' '.join(words)}: {len(said.splitlines())} lines: {said[:200]}"
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({path[0] for path in COMMANDS} | {"no-such-command"}))
def test_a_mistake_is_answered_by_a_sentence(name: str, tmp_path: Path) -> None:
    wrong = [words for words in mistakes() if words[0] == name]
    assert wrong
    with ThreadPoolExecutor(2) as pool:
        faults = [found for found in pool.map(lambda w: fault(w, tmp_path), wrong) if found]
    assert faults == []


def test_new_commands_and_options_are_found_by_themselves() -> None:
    new = typer.Typer()

    @new.command()
    def fresh(size: int = 1, config: Path | None = None) -> None: ...

    command = typer.main.get_command(new)
    ((path, found),) = commands(command)
    assert path == ()
    assert [wrong_values(p) for p in found.params if p.name != "help"] == [
        ["many", "1e999x"],
        ["/nowhere/at/all", str(ROOT)],
    ]


@pytest.mark.parametrize("flag", ["--version", "version"])
def test_the_version_is_printed(flag: str, tmp_path: Path) -> None:
    done = run((flag,), tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", done.stdout)
