"""Connections to an agent, made by the name of their transport."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never
from urllib.parse import urlsplit

from agent.latency.asterisk import AsteriskConnection
from agent.latency.connection import AgentConnection
from agent.latency.impairment import ImpairedConnection, NetworkImpairment
from agent.latency.realtime import RealtimeConnection
from agent.latency.transport_names import TransportName
from agent.latency.twilio import TwilioConnection
from agent.latency.webrtc import WebRtcConnection

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(slots=True)
class ConnectionFactory:
    """Makes the connections of a run, one for each call.

    Attributes:
        name: transport between caller and agent.
        url: address of the agent.
        key: credential of the caller: a bearer token, a stream token or ``user:password``.
        session: body of a ``session.update`` to send first, where the protocol has one.
        impairment: simulated network impairment; None: the network as it is.
        seed: seed of the simulated delays and losses.
    """

    name: TransportName
    url: str
    key: str | None = None
    session: Mapping[str, Any] | None = None
    impairment: NetworkImpairment | None = None
    seed: int = 0
    _calls: Iterator[int] = field(default_factory=itertools.count, init=False)

    def new_connection(self) -> AgentConnection:
        """Make the connection of one more call; it is not opened yet."""
        connection = self._unimpaired()
        if self.impairment is None:
            return connection
        return ImpairedConnection(connection, self.impairment, f"{self.seed} {next(self._calls)}")

    def _unimpaired(self) -> AgentConnection:
        match self.name:
            case TransportName.REALTIME:
                return RealtimeConnection(self.url, key=self.key, session=self.session)
            case TransportName.TWILIO:
                return TwilioConnection(self.url, self.key)
            case TransportName.ASTERISK:
                return AsteriskConnection(self.url, self.key)
            case TransportName.WEBRTC:
                # A peer on this machine is reached over loopback, which ICE omits by default.
                local = urlsplit(self.url).hostname in LOOPBACK
                return WebRtcConnection(self.url, ("127.0.0.1",) if local else ())
            case _:
                assert_never(self.name)
