"""Writes docs/troubleshooting.md from the texts of ``onebreath doctor``: run it as a program."""

from __future__ import annotations

import errno
import re
import shlex
import sys
from pathlib import Path

from agent.doctor import checks
from agent.doctor.checks import GIB, Finding, Level
from agent.runtime.threads import ThreadPlan

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"

HEAD = """\
# Troubleshooting

`onebreath doctor` looks at this machine and says what to do. These are its findings, in its own
words; the values are examples.

| check | found | what to do |
|---|---|---|
"""

TAIL = """
## Messages of the page

| message | what to do |
|---|---|
"""


def findings() -> list[Finding]:
    """What each check says where something is wrong."""
    port = ("127.0.0.1", 8080)
    found = [
        checks.check_python((3, 10, 2)),
        checks.check_cpu(1, frozenset(), "x86_64"),
        checks.check_cpu(4, frozenset({"sse2"}), "x86_64"),
        checks.check_memory(4 * GIB, GIB),
        checks.check_disk(Path("/home/you/.cache/onebreath/models"), GIB // 10),
        checks.check_packages(["uvicorn>=0.34"], {"uvicorn": None}),
        checks.check_imports({"torch": "OSError: libgomp.so.1 is missing"}),
        *checks.check_kernels(False),
        *checks.check_models({"joe": ["joe: the package piper-voice-joe is not installed"]}),
        *checks.check_threads(ThreadPlan(1, 8, 1), 2, {"OMP_NUM_THREADS": "8"}),
        *checks.check_threads(ThreadPlan(1, 2, 1), 2, {"OMP_WAIT_POLICY": "ACTIVE"}),
        checks.check_load(3.2, 2),
        checks.check_gpu(["NVIDIA L4"], []),
        checks.check_port(*port, errno.EADDRINUSE),
        checks.check_port("127.0.0.1", 80, errno.EACCES),
        checks.check_port("10.1.2.3", 8080, errno.EADDRNOTAVAIL),
        *checks.check_descriptors(256),
    ]
    return [each for each in found if each.level is not Level.OK]


def page_messages() -> list[tuple[str, str]]:
    """Title and next step of every problem that the page knows, read from its source."""
    source = (PAGE.parents[1] / "web_client/static/src/problems.js").read_text()
    body = source.partition("const ADVICE = {")[2].partition("\n};")[0]
    entries = re.findall(r'title: "([^"]+)",\s+next:\s+((?:"[^"]+"[\s+]*)+)', body)
    return [(title, "".join(re.findall(r'"([^"]+)"', text))) for title, text in entries]


def cell(text: str) -> str:
    """Text in a cell of a table."""
    # The commands name this installation, which is another one for each reader.
    text = text.replace(shlex.quote(sys.executable), "python")
    text = re.sub(r"(?<=run: )\S*(onebreath|python -m agent) ", "onebreath ", text)
    return text.replace("|", "\\|").replace("\n", "<br>")


def page() -> str:
    """The whole page."""
    rows = "".join(
        f"| {cell(each.what)} | {cell(each.detail)} | {cell(each.advice)} |\n"
        for each in findings()
    )
    messages = "".join(f"| {cell(title)} | {cell(text)} |\n" for title, text in page_messages())
    return HEAD + rows + TAIL + messages


if __name__ == "__main__":
    PAGE.write_text(page())
