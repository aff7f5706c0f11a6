"""The wires by name, and one more call over one of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from agent.latency.link import LinkedWire, LinkSettings
from agent.latency.realtime import RealtimeWire
from agent.latency.wire import Wire


class WireName(StrEnum):
    """What an agent speaks."""

    REALTIME = "realtime"


@dataclass(slots=True)
class Dialling:
    """How an agent is reached."""

    name: WireName
    url: str
    key: str | None = None
    session: Mapping[str, Any] | None = None
    """Sent as ``session.update`` where the protocol has one."""
    link: LinkSettings | None = None
    seed: int = 0
    _calls: Iterator[int] = field(default_factory=itertools.count, init=False)

    def wire(self) -> Wire:
        """The wire of one more call."""
        wire = RealtimeWire(self.url, key=self.key, session=self.session)
        if self.link is None:
            return wire
        return LinkedWire(wire, self.link, f"{self.seed} {next(self._calls)}")
