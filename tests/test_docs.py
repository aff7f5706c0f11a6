"""The documents say what the code does: links, commands, error codes, the tree of folders."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from agent.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent", "asr", "tts", "dllm_core", "web_client")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text().partition("## What is where")[2]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    relative = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in relative if not (path.parent / link).exists()] == []


def test_every_command_of_the_readme_exists_and_the_reverse():
    named = set(re.findall(r"\bonebreath ([a-z]+(?:-[a-z]+)*)\b", " ".join(_code(README))))
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if not c.hidden}
    assert named == commands | {group.name for group in app.registered_groups}


def _code(markdown: str) -> list[str]:
    """Everything that is set as code: between backticks, or indented by four spaces."""
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", markdown)
    return [*inline, *re.findall(r"^    (.+)$", markdown, re.MULTILINE)]


def test_every_test_that_the_security_page_names_exists():
    """``file.py::name``; further names without a file are of the file named last."""
    page = (ROOT / "docs" / "security.md").read_text()
    file, known, missing = "", set[str](), []
    for name in re.findall(r"`((?:\.\.\._|test_)[\w.:]+)`", page):
        place, _, test = name.rpartition("::")
        if name.endswith(".py") or place:
            file = place or name
            path = ROOT / "tests" / file
            known = set(re.findall(r"def (test_\w+)", path.read_text() if path.exists() else ""))
            missing += [] if known else [file]
        found = any(each.endswith(test.removeprefix("...")) for each in known)
        missing += [] if found or name == file else [f"{file}::{test}"]
    assert len(known) > 0
    assert missing == []


PYDANTIC_CODES = {"missing_required_parameter", "invalid_type", "string_above_max_length"}


CALLED = re.compile(r"\b(Trouble|Unplaced|_missing|bad_value|_no_room|StageFailed)\(")


def test_the_protocol_page_lists_exactly_the_error_codes_of_the_code():
    page = (ROOT / "docs" / "protocol.md").read_text()
    section = page.partition("\n## Errors\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE)
    assert len(listed) == len(set(listed))
    named = _codes("Trouble") | _codes("Unplaced") | _codes("_missing") | _codes("bad_value", 2)
    # The code of a bad value where the reader gives none, and those that pydantic's errors become.
    named |= {"invalid_value", *PYDANTIC_CODES}
    stages = {f"{stage}_failed" for stage in _codes("StageFailed")}
    assert set(listed) == named | _codes("_no_room") | stages


def _codes(name: str, place: int = 0) -> set[str]:
    """Arguments at ``place`` of all calls of ``name`` in the agent that are plain strings."""
    given = [call.args[place : place + 1] for called, call in _calls() if called == name]
    return {word.value for words in given for word in words if isinstance(word, ast.Constant)}


@functools.cache
def _calls() -> list[tuple[str, ast.Call]]:
    """Every call of a name of `CALLED` in the agent; only files that have one are parsed."""
    texts = [path.read_text() for path in (ROOT / "agent").rglob("*.py")]
    trees = [ast.parse(text) for text in texts if CALLED.search(text)]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(call.func.id, call) for call in calls if isinstance(call.func, ast.Name)]


def _tree() -> dict[str, str]:
    """Path -> caption of every line of the folder tree in ARCHITECTURE.md."""
    block = ARCHITECTURE.partition("```text\n")[2].partition("\n```")[0]
    parents: list[str] = []
    tree = {}
    for line in filter(None, block.splitlines()):
        name, _, caption = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth:] = [name]
        tree["".join(parents)] = caption.strip()
    return tree


def test_every_line_of_the_tree_is_a_folder_with_a_short_caption():
    for name, caption in _tree().items():
        assert name.endswith("/"), name
        assert (ROOT / name).is_dir(), name
        assert 2 <= len(caption.split()) <= 12, name


def test_every_folder_of_the_packages_is_in_the_tree():
    folders = {
        f"{path.parent.relative_to(ROOT)}/"
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert folders - set(_tree()) == set()


def test_sound_flows_through_the_folders_in_the_order_of_the_tree():
    """A spoken turn meets them in this order (ARCHITECTURE.md, "The life of a spoken turn")."""
    order = list(_tree())
    way = ["web_client", "agent/server", "agent/transports", "agent/protocol", "agent/runtime"]
    way += ["agent/audio", "agent/turn_taking", "agent/session", "asr", "dllm_core", "tts"]
    places = [order.index(f"{folder}/") for folder in way]
    assert places == sorted(places)


@pytest.mark.parametrize("package", ["agent", "dllm_core"])
def test_the_drawing_of_a_package_has_every_folder(package):
    svg = (ROOT / "docs" / "images" / f"folders-{package}.svg").read_text()
    drawn = set(re.findall(r"<text [^>]*>([a-z_]+)</text>", svg))
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders <= drawn


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 250
