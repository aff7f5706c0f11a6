"""Every command, argument and option has a help text that reads well."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from agent.cli.main import app

BAD_OPENERS = ("Of", "What", "None", "Who", "Where", "How", "Whether")


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}")


COMMANDS = dict(commands(typer.main.get_command(app), "onebreath"))
PARAMETERS = {
    f"{path} {parameter.opts[0]}": parameter
    for path, command in COMMANDS.items()
    for parameter in command.params
}


def complaint(help_text: str | None) -> str | None:
    """The fault of a help text, if it has one."""
    text = " ".join((help_text or "").split())
    if not text:
        return "missing"
    if not text[0].isupper():
        return "no capital letter at its beginning"
    if text.split()[0].rstrip(",.;:") in BAD_OPENERS:
        return f"begins with {text.split()[0]}"
    if not re.search(r"\.($| )", text):
        return "no full stop"
    if "[" in text:
        return "a bracket, which the terminal takes for markup"
    return None


def summary(command: click.Command) -> str:
    """The first paragraph, which lists of commands show."""
    return (command.help or "").partition("\n\n")[0]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_a_summary_sentence(path):
    text = " ".join(summary(COMMANDS[path]).split())
    assert complaint(text) is None
    assert text.endswith(".")
    assert text.split()[0] not in ("A", "An", "The", "Your", "One"), "begin with a verb"
    assert "[" not in (COMMANDS[path].help or ""), "the terminal takes a bracket for markup"


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_option_has_a_sentence(name):
    help_text = getattr(PARAMETERS[name], "help", None)
    assert complaint(help_text) is None
    assert (help_text or "").endswith(".")


def test_sub_commands_are_walked():
    assert {"onebreath bench turns", "onebreath adapt train"} <= set(COMMANDS)
    assert "onebreath latency --seed" in PARAMETERS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "missing"),
        (" ", "missing"),
        ("Of everything that is drawn.", "begins with Of"),
        ("What the agent speaks.", "begins with What"),
        ("None: all.", "begins with None:"),
        ("cpu or cuda.", "no capital letter at its beginning"),
        ("Seed of the generator", "no full stop"),
        ("Needs onebreath[browser].", "a bracket, which the terminal takes for markup"),
        ("Seed of the generator.", None),
    ],
)
def test_faults_of_help_texts_are_found(text, fault):
    assert complaint(text) == fault


@pytest.mark.parametrize("path", COMMANDS)
def test_options_without_a_value_name_none(path):
    done = CliRunner().invoke(app, [*path.split()[1:], "--help"], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    assert "bool" not in done.output
