"""JSON of clients: strict, but for two slips of their encoders."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from agent.protocol.half_characters import whole_characters

_BYTE_ORDER_MARK = "\ufeff"


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Half a surrogate pair becomes U+FFFD; a byte order mark before the text is passed over.

    Raises:
        ValueError: the text is no JSON; NaN and Infinity are none.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        mended = _mended(text)
        if mended is None:
            raise
        return from_json(mended, allow_inf_nan=False)


def _mended(text: str | bytes) -> str | None:
    """``text`` without its slips; None where it has none that can be mended."""
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError:
            return None
    mended = whole_characters(text.removeprefix(_BYTE_ORDER_MARK))
    return None if mended == text else mended
