"""Formatters of the log: for people on a console, or one JSON object a line."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

current_call: ContextVar[str] = ContextVar("current_call", default="")
"""The id of the call to which the running task belongs; empty for none."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a structured line; of another the call that its writer was at work for."""
    found = getattr(record, "fields", None)
    if isinstance(found, dict):
        return found
    call = current_call.get()
    return {"call": call} if call else {}


class ConsoleFormatter(logging.Formatter):
    """The message, and behind it the fields as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        fields = " ".join(f"{name}={_plain(value)}" for name, value in fields_of(record).items())
        return f"{text} {fields}" if fields else text


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, logger, event, the fields, and a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        row: dict[str, Any] = {
            "time": when,
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


def _plain(value: object) -> str:
    """A value without line breaks, which would forge lines of the log; quoted if it has spaces."""
    text = str(value)
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
