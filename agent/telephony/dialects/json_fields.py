"""JSON messages of a peer: read with bounds and types, with errors that name the field."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from agent.audio.base64_text import from_base64
from agent.telephony.dialects.base import DialectError, WireMessage

MAX_MESSAGE = 65_536
"""Bytes, or characters, of one message."""
MAX_PARAMETERS = 64
MAX_PARAMETER = 1024
MAX_NAME = 256
MAX_INTEGER = 2**53
"""Greatest integer: JSON's numbers are exact up to here."""


class JsonFields:
    """A JSON object whose values are checked as they are read.

    Each getter raises ``DialectError`` for a value of the wrong type or beyond its bound.
    """

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values = values
        self._where = where

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._values.get(name) is not None

    def raw(self, name: str) -> object:
        """The value of a field as it is; None where it is missing."""
        return self._values.get(name)

    def text(self, name: str, default: str | None = None) -> str:
        """A string of at most ``MAX_NAME`` characters; required without ``default``."""
        if not self.has(name):
            if default is None:
                raise DialectError(f"{self._where}{name} is missing")
            return default
        return self.long_text(name, MAX_NAME)

    def long_text(self, name: str, limit: int) -> str:
        """A string of at most ``limit`` characters; empty where the field is missing."""
        value = self._values.get(name, "")
        if not isinstance(value, str) or len(value) > limit:
            raise DialectError(f"{self._where}{name} must be a string up to {limit} characters")
        return value

    def integer(self, name: str) -> int:
        """A whole number up to ``MAX_INTEGER``.

        Some providers send a string of digits, and some JSON encoders 8000.0 for 8000.
        """
        value = self._values.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_INTEGER:
            raise DialectError(f"{self._where}{name} must be a whole number up to {MAX_INTEGER}")
        return value

    def section(self, name: str) -> JsonFields:
        """A nested object; required."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise DialectError(f"{self._where}{name} must be an object")
        return JsonFields(value, f"{self._where}{name}.")

    def data(self, name: str) -> bytes:
        """Bytes from base64 of any common form; required."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise DialectError(f"{self._where}{name} must be a base64 string")
        try:
            return from_base64(value)
        except ValueError:
            raise DialectError(f"{self._where}{name} is not base64") from None

    def parameters(self, name: str) -> dict[str, str]:
        """An object of short values, as text; empty where the field is missing."""
        value = self._values.get(name) or {}
        if not isinstance(value, dict) or len(value) > MAX_PARAMETERS:
            raise DialectError(f"{self._where}{name} must be an object of up to {MAX_PARAMETERS}")
        found = {key: str(item) for key, item in value.items() if isinstance(item, str | int)}
        if any(len(key) + len(item) > MAX_PARAMETER for key, item in found.items()):
            raise DialectError(f"{self._where}{name} holds a value that is too long")
        return found

    def rest(self, known: set[str]) -> dict[str, str]:
        """The short values of all fields that are not ``known``, as text."""
        others = {key: item for key, item in self._values.items() if key not in known}
        return JsonFields({"others": others}, self._where).parameters("others")


def read_object(message: WireMessage) -> JsonFields:
    """Read a message that must be one JSON object.

    Raises:
        DialectError: the message is something else, or too long.
    """
    if isinstance(message, bytes):
        raise DialectError(f"a binary message of {len(message)} bytes where JSON was expected")
    if len(message) > MAX_MESSAGE:
        raise DialectError(f"a message of {len(message)} characters; {MAX_MESSAGE} are allowed")
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        raise DialectError("a message that is not JSON") from None
    if not isinstance(value, dict):
        raise DialectError("a message that is not a JSON object")
    return JsonFields(value)


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def to_json(value: Mapping[str, object]) -> str:
    """JSON without spaces, as Asterisk's limit of 128 bytes wants it."""
    return _ENCODER.encode(value)


def base64_text(data: bytes) -> str:
    """``data`` in base64, as ASCII text."""
    return base64.b64encode(data).decode("ascii")
