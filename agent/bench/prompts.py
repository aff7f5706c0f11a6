"""Prompts for a benchmark: a text file of lines, or JSON lines with a check of the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import ConfigError
from agent.latency.question import Check, Rule

MAX_PROMPTS = 10_000
"""Most prompts in a file."""
MAX_CHARACTERS = 4000
"""Longest prompt, in characters."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt.

    Attributes:
        text: words of the caller.
        check: check of the answer, if there is one.
    """

    text: str
    check: Check | None = None


def read_prompts(path: Path) -> list[Prompt]:
    """Read a text file, or a ``.jsonl`` file of ``{"prompt": "...", "contains": "Paris"}``.

    A row has at most one of ``contains``, ``regex`` and ``exact``. Empty lines are skipped.

    Raises:
        ConfigError: the file cannot be read, is empty or too long, or a line is malformed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}") from error
    rows = path.suffix == ".jsonl"
    prompts = [
        _prompt(_object(line, f"{path}:{number}") if rows else {"prompt": line}, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not 1 <= len(prompts) <= MAX_PROMPTS:
        raise ConfigError(f"{path}: {len(prompts)} prompts; give between 1 and {MAX_PROMPTS}")
    return prompts


def _object(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: no JSON: {error}") from None
    if not isinstance(row, dict):
        raise ConfigError(f'{where}: write an object a line, as in {{"prompt": "Hello."}}')
    return row


def _prompt(row: Mapping[str, Any], where: str) -> Prompt:
    text = row.get("prompt")
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= MAX_CHARACTERS:
        raise ConfigError(f"{where}: a prompt is a text of 1 to {MAX_CHARACTERS} characters")
    if unknown := set(row) - {"prompt", *Rule}:
        known = ", ".join(["prompt", *Rule])
        raise ConfigError(f"{where}: {sorted(unknown)} mean nothing; known are {known}")
    rule = {key: value for key, value in row.items() if key != "prompt"}
    return Prompt(text.strip(), Check.from_json(rule, where) if rule else None)
