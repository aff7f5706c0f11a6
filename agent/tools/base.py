"""The contract of a function of this server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from agent.errors import OnebreathError
from agent.reply import FunctionTool


class ToolError(OnebreathError):
    """A function cannot do what it is asked; the message is for the model, which explains it."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a function returns.

    Attributes:
        text: the output for the model: words, or JSON.
        reply: whether a reply follows.
        leave: why the call ends now; empty for a call that goes on.
        goodbye: whether the agent says goodbye first, if it has not said anything yet.
    """

    text: str
    reply: bool = True
    leave: str = ""
    goodbye: bool = False


@runtime_checkable
class TelephoneLine(Protocol):
    """The line of a telephone call, which tools may use.

    Attributes:
        transfers: whether its provider can be told to connect the caller to another party.
    """

    transfers: bool

    async def transfer(self, destination: str) -> None:
        """Connect the caller to another party, as soon as this call ends.

        Args:
            destination: a number, an extension or a SIP address.
        """

    async def send_dtmf(self, digits: str) -> None:
        """Play the tones of keys to the other side, and wait until they are played."""


class ServerTool(Protocol):
    """A function of this server.

    Attributes:
        offer: the function as it is offered to the responder.
    """

    @property
    def offer(self) -> FunctionTool:
        """See `ServerTool`."""

    def can_use(self, line: object) -> bool:
        """Whether it works on a call over this transport."""

    async def run(self, arguments: Mapping[str, Any], line: object) -> ToolResult:
        """Run the function.

        Args:
            arguments: an object, not yet checked by the schema.
            line: the transport of the call.

        Raises:
            ToolError: it cannot be done; any other exception is a fault.
        """
