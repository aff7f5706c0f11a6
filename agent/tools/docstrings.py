"""Docstrings of functions: the description, and a text for each parameter.

Understood are the forms of Google, NumPy and Sphinx.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Returns?|Yields?|Raises|Examples?|Notes?|Attributes|"
    r"Other Parameters|See Also|Warnings?|References)\s*:?\s*"
)
_PARAMETERS = ("Args", "Arguments", "Parameters", "Params")
_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY = re.compile(r"(\w+)\s*(?::.*)?")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """(the description, the texts of parameters by name)."""
    lines = inspect.cleandoc(text or "").splitlines()
    words: list[str] = []
    for line in lines:
        if _begins_section(line) or line.startswith(":"):
            break
        words.append(line.strip())
    return " ".join(" ".join(words).split()), dict(_parameters(lines))


def _begins_section(line: str) -> bool:
    return _SECTION.fullmatch(line) is not None


def _parameters(lines: list[str]) -> Iterator[tuple[str, str]]:
    for index, line in enumerate(lines):
        if _begins_section(line) and line.strip().rstrip(":") in _PARAMETERS:
            rest = lines[index + 1 :]
            underlined = bool(rest) and set(rest[0].strip()) == {"-"}
            yield from _entries(rest[1:], _NUMPY) if underlined else _entries(rest, _GOOGLE)
            return
    yield from _fields(lines)


def _entries(lines: list[str], head: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """The entries of a section: lines of the first one's depth begin one, deeper ones go on."""
    name, said, depth = "", [""], -1
    for line in lines:
        if not line.strip():
            continue
        deep = len(line) - len(line.lstrip())
        if depth < 0:
            depth = deep
        if deep < depth or (_begins_section(line) and deep == 0):
            break
        found = head.fullmatch(line.strip()) if deep == depth else None
        if found is None:
            said.append(line.strip())
            continue
        if name:
            yield name, " ".join(said).strip()
        name, said = found[1], [found[2] if head.groups > 1 else ""]
    if name:
        yield name, " ".join(said).strip()


def _fields(lines: list[str]) -> Iterator[tuple[str, str]]:
    name, said = "", [""]
    for line in lines:
        found = _SPHINX.fullmatch(line.strip())
        if found is None and name and line.startswith(" "):
            said.append(line.strip())
            continue
        if name:
            yield name, " ".join(said).strip()
        name, said = (found[1], [found[2]]) if found else ("", [""])
    if name:
        yield name, " ".join(said).strip()
