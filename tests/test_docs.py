"""The documents say what the code does: links, commands, error codes, the tree of files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from agent.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent", "asr", "tts", "dllm_core", "web_client")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    relative = [link.partition("#")[0] for link in links if "://" not in link]
    assert [link for link in relative if not (path.parent / link).exists()] == []


def test_every_command_of_the_readme_exists_and_the_reverse():
    named = set(re.findall(r"\bonebreath ([a-z]+(?:-[a-z]+)*)\b", " ".join(_code(README))))
    commands = {c.name or c.callback.__name__ for c in app.registered_commands}
    assert named == commands | {group.name for group in app.registered_groups}


def _code(markdown: str) -> list[str]:
    """Everything that is set as code: between backticks, or indented by four spaces."""
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", markdown)
    return [*inline, *re.findall(r"^    (.+)$", markdown, re.MULTILINE)]


def test_the_protocol_page_lists_exactly_the_error_codes_of_the_code():
    page = (ROOT / "docs" / "protocol.md").read_text()
    section = page.partition("\n## Errors\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([a-z_]+)`", section, re.MULTILINE)
    assert len(listed) == len(set(listed))
    stages = {f"{stage}_failed" for stage in _codes("StageFailed")}
    assert set(listed) == _codes("Trouble") | _codes("_no_room") | stages


def _codes(name: str) -> set[str]:
    """First arguments of all calls of ``name`` in the agent that are written as plain strings."""
    found = set()
    for path in (ROOT / "agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id == name and isinstance(node.args[0], ast.Constant):
                found.add(node.args[0].value)
    return found


def _tree() -> dict[str, str]:
    """Path -> caption of every line of the README's tree."""
    block = README.partition("```text\n")[2].partition("\n```")[0]
    parents: list[str] = []
    tree = {}
    for line in filter(None, block.splitlines()):
        name, _, caption = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth:] = [name]
        tree["".join(parents)] = caption.strip()
    return tree


def test_every_line_of_the_tree_is_a_file_or_folder_with_a_short_caption():
    for name, caption in _tree().items():
        path = ROOT / name
        assert path.is_dir() if name.endswith("/") else path.is_file(), name
        assert 1 <= len(caption.split()) <= 7, name


def test_every_module_of_the_packages_is_in_the_tree():
    modules = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules - set(_tree()) == set()
