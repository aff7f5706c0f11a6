"""Reading JSON that a stranger wrote: bounded, typed, with errors that name the field."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from agent.telephony.dialects.base import DialectError, WireMessage

MAX_MESSAGE = 65_536
"""Bytes, or characters, of one message."""
MAX_PARAMETERS = 64
MAX_PARAMETER = 1024
MAX_NAME = 256
MAX_INTEGER = 2**53
"""JSON's numbers are exact up to here, and what is more does not fit into a float of seconds."""


class JsonFields:
    """A JSON object whose values are checked as they are read."""

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self._values = values
        self._where = where

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """A string of at most ``MAX_NAME`` characters; required without ``default``."""
        if not self.has(name):
            if default is None:
                raise DialectError(f"{self._where}{name} is missing")
            return default
        return self.long_text(name, MAX_NAME)

    def long_text(self, name: str, limit: int) -> str:
        """A string of at most ``limit`` characters; empty where there is none."""
        value = self._values.get(name, "")
        if not isinstance(value, str) or len(value) > limit:
            raise DialectError(f"{self._where}{name} must be a string up to {limit} characters")
        return value

    def integer(self, name: str) -> int:
        """A number of at most ``MAX_INTEGER``, or a string of digits as some providers send."""
        value = self._values.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_INTEGER:
            raise DialectError(f"{self._where}{name} must be a whole number up to {MAX_INTEGER}")
        return value

    def section(self, name: str) -> JsonFields:
        """An object inside; required."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise DialectError(f"{self._where}{name} must be an object")
        return JsonFields(value, f"{self._where}{name}.")

    def data(self, name: str) -> bytes:
        """Bytes in base64."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise DialectError(f"{self._where}{name} must be a base64 string")
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise DialectError(f"{self._where}{name} is not base64") from None

    def parameters(self, name: str) -> dict[str, str]:
        """An object of short values, as text; empty where there is none."""
        value = self._values.get(name) or {}
        if not isinstance(value, dict) or len(value) > MAX_PARAMETERS:
            raise DialectError(f"{self._where}{name} must be an object of up to {MAX_PARAMETERS}")
        found = {key: str(item) for key, item in value.items() if isinstance(item, str | int)}
        if any(len(key) + len(item) > MAX_PARAMETER for key, item in found.items()):
            raise DialectError(f"{self._where}{name} holds a value that is too long")
        return found

    def rest(self, known: set[str]) -> dict[str, str]:
        """The short values that are not ``known``, as text."""
        others = {key: item for key, item in self._values.items() if key not in known}
        return JsonFields({"others": others}, self._where).parameters("others")


def read_object(message: WireMessage) -> JsonFields:
    """A message that must be one JSON object.

    Raises:
        DialectError: it is not, or is too long.
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
    return base64.b64encode(data).decode("ascii")
