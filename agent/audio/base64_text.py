"""Base64 as other programs write it."""

from __future__ import annotations

import binascii

_CLEANED = str.maketrans("-_", "+/", " \t\r\n=")


def from_base64(text: str) -> bytes:
    """The bytes of ``text``, which may have line breaks, the URL's alphabet or no padding.

    Raises:
        ValueError: it has other characters, or no whole number of bytes.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        cleaned = text.translate(_CLEANED)
        padding = "=" * (-len(cleaned) % 4)
        return binascii.a2b_base64(cleaned + padding, strict_mode=True)
