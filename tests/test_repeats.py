"""The rule by which `make test` leaves combinations of parameters to `make test-all`."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from support import repeats


@dataclass
class Case:
    """As much of a collected test as the rule asks for."""

    nodeid: str
    callspec: Any
    marks: set[str] = field(default_factory=lambda: {"crossed"})

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None

    def add_marker(self, name: str) -> None:
        self.marks.add(name)


def cases(name: str, **sizes: int) -> list[Case]:
    places = product(*map(range, sizes.values()))
    specs = [SimpleNamespace(params=dict(zip(sizes, at, strict=True))) for at in places]
    return [Case(f"{name}[{i}]", spec) for i, spec in enumerate(specs)]


def kept(items: list[Case]) -> list[dict[str, int]]:
    return [item.callspec.params for item in items if "long" not in item.marks]


def test_every_value_is_left_and_no_combination_of_shown_ones() -> None:
    items = cases("test_x", rows=4, splits=3, biased=2)
    repeats.mark(items)  # type: ignore[arg-type]
    assert len(kept(items)) == 1 + 3 + 2 + 1
    for name, size in {"rows": 4, "splits": 3, "biased": 2}.items():
        assert {found[name] for found in kept(items)} == set(range(size))


def test_a_single_parameter_and_another_test_keep_all() -> None:
    items = [*cases("test_x", rows=4), *cases("test_y", rows=4)]
    repeats.mark(items)  # type: ignore[arg-type]
    assert len(kept(items)) == 8


@pytest.mark.parametrize("marks", [set(), {"slow"}, {"model"}])
def test_other_tests_keep_all_their_combinations(marks: set[str]) -> None:
    items = cases("test_x", rows=4, splits=3)
    for item in items:
        item.marks = set(marks)
    repeats.mark(items)  # type: ignore[arg-type]
    assert len(kept(items)) == 12


def test_a_test_without_parameters_is_no_repeat() -> None:
    item = Case("test_x", None)
    repeats.mark([item])  # type: ignore[list-item]
    assert "long" not in item.marks
