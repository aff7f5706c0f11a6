"""Every command, flag and argument with wrong, missing and absurd input: a sentence and exit 2.

Commands and their parameters are found by walking the command line, so a new one is swept as soon
as it exists.
"""

from __future__ import annotations

import functools
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from agent.cli.main import app, main

ROOT = Path(__file__).parents[1]
CLASSES = re.compile(r"(asr|responder|tts)$")
SECONDS = 20
OTHERS = {
    "--link": ["nonsense"],
    "--duration": ["nonsense"],
    "--host": ["no.such.host.invalid", "999.1.1.1"],
    "--url": ["nonsense", "http://", "gopher://127.0.0.1/"],
    "--rule": ["no_such_rule"],
    "--cache": ["no_such_policy"],
    "--confidence": ["no_such_measure"],
    "--model-config": ["{", "[]"],
    "--lexicon": ["/nowhere/words.txt"],
    "--language": ["no such language"],
    "--rows": [str(ROOT / "README.md" / "rows.jsonl")],
    "--out": [str(ROOT / "README.md" / "file")],
}
"""Values by option, for those whose type says nothing."""
LONGEST_ANSWER = 12
"""Lines: typer draws a box around what is wrong with an option."""


def _is_option(parameter: Any) -> bool:
    return str(parameter.opts[0]).startswith("-")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator:
    if below := getattr(command, "commands", None):
        for name, each in below.items():
            yield from commands(each, (*path, name))
    else:
        yield path, command


COMMANDS = dict(commands(typer.main.get_command(app)))


def wrong_values(parameter: Any) -> list[str]:
    """Values that the parameter cannot have."""
    kind = str(getattr(parameter, "type_descriptor", "") or getattr(parameter, "type", ""))
    if re.search(r"\b(int|float|integer)\b", kind, re.IGNORECASE):
        return ["many", "1e999x"] + (["-1"] if getattr(parameter, "min", None) is not None else [])
    if re.search(r"enum|choice", kind, re.IGNORECASE):
        return ["no such choice"]
    if parameter.name in ("config", "session", "prices"):
        return ["/nowhere/at/all", str(ROOT)]
    if CLASSES.fullmatch(parameter.name or ""):
        return ["json:JSONDecoder", "no_such_engine", "nowhere:Class", ":", "json:nothing"]
    if parameter.name in ("model", "voice", "asr_model"):
        return ["no-such-model", "/nowhere/model.gguf"]
    if parameter.name == "budget":
        return ["foo=1", "total", "total=fast", "=", "total.p51=1"]
    return OTHERS.get(parameter.opts[0], [])


def required(command: Any) -> list[str]:
    """Something for every argument that must be given, so that the fault is the option's."""
    given = []
    for parameter in command.params:
        if not parameter.required:
            continue
        value = str(ROOT / "agent" / "questions" / "two_plus_two.wav")
        if _is_option(parameter):
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
                if _is_option(parameter):
                    yield (*path, *required(command), parameter.opts[0], value)
    yield ("no-such-command",)
    yield ("call", "/nowhere.wav")
    yield ("call", str(ROOT / "README.md"))
    yield ("reply", "")
    yield ("report", "/nowhere.jsonl")
    yield ("report", str(ROOT / "README.md"))
    yield ("models", "no-such-model")


class TooLongError(BaseException):
    """The command went on instead of refusing its input."""


def _alarm(*_: object) -> None:
    raise TooLongError


def fault(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str | None:
    """What is wrong with the answer to a mistake; None if it is a sentence."""
    shown = " ".join(words)
    sys.argv = ["onebreath", *words]
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(SECONDS)
    code: object = "none"
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except TooLongError:
        return f"{shown}: went on for {SECONDS} s"
    except Exception as error:
        return f"{shown}: a traceback: {type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        said = capsys.readouterr().err.strip()
    if code != 2:
        return f"{shown}: exit {code}: {said[-200:]}"
    if not said or len(said.splitlines()) > LONGEST_ANSWER:
        return f"{shown}: {len(said.splitlines())} lines: {said[:200]}"
    return None


NAMES = sorted({path[0] for path in COMMANDS} | {"no-such-command"})


@pytest.fixture
def built_once(monkeypatch):
    """The tree of commands is built once, which else is nearly all of an invocation's time."""
    monkeypatch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))


@pytest.mark.slow
@pytest.mark.usefixtures("built_once")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_is_answered_by_a_sentence(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    wrong = [words for words in mistakes() if words[0] == name]
    assert wrong
    assert [found for words in wrong if (found := fault(words, capsys))] == []


def test_new_commands_and_options_are_found_by_themselves() -> None:
    new = typer.Typer(add_completion=False)

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
def test_the_version_is_printed(flag, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["onebreath", flag])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", capsys.readouterr().out)
