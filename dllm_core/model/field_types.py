"""Types and ranges of the numbers in a checkpoint's own description of itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dllm_core.errors import ModelFileError

_MOST = 2**31
"""Bound of whole numbers: beyond it torch has no sizes, and loops over layers no end."""


def check(
    where: str, values: Mapping[str, Any], whole: Collection[str], real: Collection[str]
) -> None:
    """Refuse a field that is no number of its kind; a field that is absent or null passes.

    Args:
        where: the file, as the subject of the message.
        values: its fields.
        whole: names of those that are whole numbers, 0 to 2**31.
        real: names of those that are numbers, 0 and above.

    Raises:
        ModelFileError: there is such a field; the message has its value.
    """
    for name, value in values.items():
        if value is None:
            continue
        if name in whole and not is_whole(value):
            raise ModelFileError(
                f"{where} has {name} = {value!r}"[:200] + ", where a whole number belongs."
            )
        if name in real and not is_real(value):
            raise ModelFileError(
                f"{where} has {name} = {value!r}"[:200] + ", where a positive number belongs."
            )


def is_whole(value: object) -> bool:
    """Whether a value is a whole number that can be a size or a token's id."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def is_real(value: object) -> bool:
    """Whether a value is a number, 0 or above, and not beyond all reason."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < 1e12  # type: ignore[operator]
