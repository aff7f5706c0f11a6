"""Which tests repeat others in another size or precision: `make test` leaves these out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pytest

MANY = ("kernels", "crossed")
"""Markers whose tests run with every combination of their parameters' values."""


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark combinations as `long` that show no value of a parameter for the first time.

    Of a test with parameters of 4, 3 and 2 values, 7 of the 24 combinations are left.
    """
    shown = defaultdict[str, set[tuple[str, int]]](set)
    for item in items:
        combination = getattr(item, "callspec", None)
        if combination is None or not any(map(item.get_closest_marker, MANY)):
            continue
        # Each value is one object in all its combinations; not all of them can be hashed.
        values = {(name, id(value)) for name, value in combination.params.items()}
        seen = shown[item.nodeid.partition("[")[0]]
        if values <= seen:
            item.add_marker("long")
        seen |= values
