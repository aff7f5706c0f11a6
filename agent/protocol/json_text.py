"""JSON of clients: strict, but for two slips of their encoders."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import from_json

_BYTE_ORDER_MARK = "\ufeff"
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""Any escape of a string: a surrogate pair, half of one, another."""


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Half a surrogate pair becomes U+FFFD: JavaScript writes one where a text was cut within an
    emoji, and it could not be sent again. A byte order mark before the text is passed over.

    Raises:
        ValueError: the text is no JSON; NaN and Infinity are none.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        mended = _mended(text)
        if mended is None:
            raise
        try:
            return from_json(mended, allow_inf_nan=False)
        except ValueError:
            raise error from None


def _mended(text: str | bytes) -> str | None:
    """``text`` without its slips; None where it has none that can be mended."""
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            return None
    mended = _ESCAPE.sub(_whole, text.removeprefix(_BYTE_ORDER_MARK))
    return None if mended == text else mended


def _whole(escape: re.Match[str]) -> str:
    return escape[0] if escape["half"] is None else r"\ufffd"
