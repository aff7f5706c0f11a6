"""Options of the commands that measure an agent: where it is, and how it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent.latency.transport_names import TransportName

UrlOption = Annotated[
    str | None,
    typer.Option(help="Address of the agent. Default: start a server on this machine."),
]
TransportOption = Annotated[
    TransportName,
    typer.Option("--transport", "--wire", help="Transport and protocol of the agent."),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        envvar="ONEBREATH_KEY",
        help="Credential: bearer token, stream token (twilio) or user:password (asterisk).",
    ),
]
SessionOption = Annotated[
    Path | None, typer.Option(help="JSON file with the body of a session.update to send first.")
]
RecordOption = Annotated[
    Path | None,
    typer.Option(help="Directory for stereo recordings of the calls (caller left)."),
]
