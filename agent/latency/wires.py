"""One more call, over the wire of a name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never
from urllib.parse import urlsplit

from agent.latency.asterisk import AsteriskWire
from agent.latency.link import LinkedWire, LinkSettings
from agent.latency.names import WireName
from agent.latency.realtime import RealtimeWire
from agent.latency.twilio import TwilioWire
from agent.latency.webrtc import WebRtcWire
from agent.latency.wire import Wire

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(slots=True)
class Dialling:
    """How an agent is reached."""

    name: WireName
    url: str
    key: str | None = None
    """What lets the caller in, in the way of the protocol."""
    session: Mapping[str, Any] | None = None
    """Sent as ``session.update`` where the protocol has one."""
    link: LinkSettings | None = None
    seed: int = 0
    _calls: Iterator[int] = field(default_factory=itertools.count, init=False)

    def wire(self) -> Wire:
        """The wire of one more call."""
        wire = self._plain()
        if self.link is None:
            return wire
        return LinkedWire(wire, self.link, f"{self.seed} {next(self._calls)}")

    def _plain(self) -> Wire:
        match self.name:
            case WireName.REALTIME:
                return RealtimeWire(self.url, key=self.key, session=self.session)
            case WireName.TWILIO:
                return TwilioWire(self.url, self.key)
            case WireName.ASTERISK:
                return AsteriskWire(self.url, self.key)
            case WireName.WEBRTC:
                # A peer on this machine is reached over loopback, which ICE leaves out by itself.
                here = urlsplit(self.url).hostname in LOOPBACK
                return WebRtcWire(self.url, ("127.0.0.1",) if here else ())
            case _:
                assert_never(self.name)
