"""What a worker is told at its start, and the channel between it and its parent.

The channel is a pair of stream sockets. The parent sends the plan, then one byte for each
connection with its descriptor; the worker sends a line of JSON whenever its state has changed.
"""

from __future__ import annotations

import json
import pickle
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config.settings import Settings
from agent.errors import ConfigError

HTTP = b"h"
AUDIOSOCKET = b"a"
"""Kinds of connections, by the port that they came to."""
STARTED_BY = "a worker is started by `onebreath serve --workers N`"
MAX_PLAN = 16 * 1_048_576
START_SECONDS = 30.0
"""Longest wait for the plan."""


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """All that a worker needs to know.

    Attributes:
        settings: as the parent has them.
        index: number of the worker, from 0.
        folder: files that all workers share.
        key: that all workers share.
        config: the settings file, which is read again on SIGHUP; None: the default one.
    """

    settings: Settings
    index: int
    folder: Path
    key: bytes
    config: Path | None = None


def send_plan(channel: socket.socket, plan: WorkerPlan) -> None:
    """Send the plan to a worker that was started; the parent's own memory is where it comes from,
    so that the worker may trust the pickle."""
    content = pickle.dumps(plan)
    channel.sendall(len(content).to_bytes(4, "little") + content)


def read_plan(channel: socket.socket) -> WorkerPlan:
    """Read the plan.

    Raises:
        ConfigError: there is none: somebody else started the worker.
    """
    channel.settimeout(START_SECONDS)
    try:
        length = int.from_bytes(_read(channel, 4), "little")
        plan = pickle.loads(_read(channel, min(length, MAX_PLAN)))
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{STARTED_BY}: {error}") from None
    if not isinstance(plan, WorkerPlan):
        raise ConfigError(STARTED_BY)
    return plan


def _read(channel: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        piece = channel.recv(length - len(content))
        if not piece:
            raise EOFError("no plan came")
        content += piece
    return content


def report_line(state: dict[str, Any]) -> bytes:
    """A worker's state as a line for its parent."""
    return json.dumps(state).encode() + b"\n"
