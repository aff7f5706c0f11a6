"""Which tests run in one worker of pytest-xdist, and which come first.

Tests of one file stay together, so that its module fixtures (a served page, an Asterisk, a loaded
model) are made once. Tests of the default models, those of a browser and those with transformers
are one group each, and come first; short files fill up what time is left to each worker.
"""

from __future__ import annotations

import pytest

LARGE = ("model", "browser", "transformers")
"""Markers whose tests are one group, whatever their files."""


def group(item: pytest.Item) -> str:
    """Name of the group of a test: a large one, or its file's."""
    for name in LARGE:
        if item.get_closest_marker(name):
            return name
    return item.path.stem


def arrange(items: list[pytest.Item]) -> None:
    """Give every test its group, and put groups with slow tests before the others."""
    slow = {group(item) for item in items if item.get_closest_marker("slow")}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: _rank(group(item), slow))


def _rank(name: str, slow: set[str]) -> int:
    if name in LARGE:
        return LARGE.index(name)
    return len(LARGE) + (name not in slow)
