"""docs/troubleshooting.md has the doctor's and the page's own words."""

from __future__ import annotations

import ast
from pathlib import Path

from support.troubleshooting import PAGE, findings, page, page_messages

from agent.doctor import checks


def test_the_page_is_as_the_doctor_and_the_client_say():
    assert PAGE.read_text() == page(), "run: python tests/support/troubleshooting.py"


def test_every_check_is_there():
    """Each check function says on the page what is wrong."""
    tree = ast.parse(Path(checks.__file__).read_text())
    names = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
    }
    source = (Path(__file__).parent / "support" / "troubleshooting.py").read_text()
    assert {name for name in names if f"checks.{name}(" not in source} == set()
    assert all(each.advice for each in findings())


def test_every_problem_of_the_client_is_there():
    source = (PAGE.parents[1] / "web_client/static/src/problems.js").read_text()
    table = source.partition("const ADVICE = {")[2].partition("\n};")[0]
    assert len(page_messages()) == table.count("title:")
