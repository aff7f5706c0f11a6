"""Halves of surrogate pairs in JSON: what a client sends that cut a text within a character."""

from __future__ import annotations

import re
from typing import Final

_PAIR = r"u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rf"\\(?:(?P<pair>{_PAIR})|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{{2}})|.)")


def whole_characters(text: str) -> str:
    """JSON in which each half of a surrogate pair is U+FFFD; whole pairs stay as they are.

    A half could be read, but neither spoken nor sent again.
    """
    return _ESCAPE.sub(lambda found: "\\ufffd" if found["half"] else found[0], text)
