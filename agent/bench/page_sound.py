"""What the page does about a slow websocket, for callers without a browser. Pure.

The rules and their numbers are those of ``web_client/static/src/transports/link_watch.js``.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from agent.audio.samples import Samples, StreamResampler
from agent.audio.wire_format import G711_RATE, WireFormat
from agent.protocol import WIRE_RATE

FULL: Final = WireFormat("pcm", WIRE_RATE)
LIGHT: Final = WireFormat("pcmu", G711_RATE)
LATE_SECONDS: Final = 0.7
MOST_LAG_SECONDS: Final = 1.5
PATIENCE_SECONDS: Final = 30.0
MAX_PATIENCE: Final = 480.0
PROOF_SECONDS: Final = 10.0
PING_SECONDS: Final = 0.5
FRAMES: Final = 3
"""Frames of 20 ms in one event of the lighter format."""
BYTE_RATES: Final = {FULL: 68_000, LIGHT: 12_700}
"""Bytes a second of events with sound, by format."""

Event = dict[str, Any]


class PageSound:
    """The microphone's and the agent's sound on one websocket.

    Args:
        now: monotonic seconds.

    Attributes:
        format: of the microphone's sound.
        changes: number of times that the caller asked for another format.
        dropped: frames of the microphone that were left out.
    """

    def __init__(self, now: float) -> None:
        self.format = self._hears = FULL
        self.changes = 0
        self.dropped = 0
        self._calm_since = now
        self._patience = PATIENCE_SECONDS
        self._tried_at: float | None = None
        self._heavy = 0
        """Bytes in the full format that may wait yet after a change."""
        self._pings: deque[float] = deque()
        self._pinged = -PING_SECONDS
        self._newest: float | None = None
        """Time of the newest pong on the server's clock, in milliseconds."""
        self._least_down: float | None = None
        self._least_trip = 0.0
        """The fastest answer to a ping; 0: there was none."""
        self._down_late = 0.0
        """How much longer the newest pong was on its way than the fastest one."""
        self._down = StreamResampler(WIRE_RATE, G711_RATE)
        self._frames: list[Samples] = []
        self._up = StreamResampler(G711_RATE, WIRE_RATE)

    def frame(self, samples: Samples, waiting: int, now: float) -> Iterator[Event]:
        """The events for 20 ms of the microphone, beside ``waiting`` bytes that are not sent."""
        if now - self._pinged >= PING_SECONDS:
            self._pinged = now
            self._pings.append(now)
            ping = {"type": "onebreath.ping", "client_time_ms": 1000 * now}
            yield ping if self._newest is None else {**ping, "server_time_ms": self._newest}
        yield from self._look(waiting, now)
        if self._lag(waiting, now) > MOST_LAG_SECONDS:
            self.dropped += 1
            return
        if self.format == LIGHT:
            self._frames.append(self._down.push(samples))
            if len(self._frames) < FRAMES:
                return
            samples, self._frames = np.concatenate(self._frames), []
        audio = base64.b64encode(self.format.encode(samples)).decode("ascii")
        yield {"type": "input_audio_buffer.append", "audio": audio}

    def take(self, event: Event, now: float) -> Iterator[Event]:
        """The events that answer one of the server."""
        match event["type"]:
            case "session.created" | "session.updated":
                self._follow(event["session"])
            case "response.created":
                self._follow(event["response"])
            case "onebreath.pong":
                trip = now - self._pings.popleft()
                self._least_trip = min(self._least_trip or trip, trip)
                self._newest = event["server_time_ms"]
                way = now - event["server_time_ms"] / 1000
                self._least_down = way if self._least_down is None else min(self._least_down, way)
                self._down_late = way - self._least_down
            case "onebreath.notice" if event["code"] == "network_slow":
                yield from self._late(now)

    def decode(self, event: Event) -> Event:
        """An event as it would be if all sound were PCM."""
        if event["type"] != "response.output_audio.delta" or self._hears == FULL:
            return event
        sound = self._up.push(LIGHT.decode(base64.b64decode(event["delta"])))
        return {**event, "delta": base64.b64encode(FULL.encode(sound)).decode("ascii")}

    def _follow(self, holder: Event) -> None:
        light = holder["audio"]["output"]["format"]["type"] == "audio/pcmu"
        self._hears = LIGHT if light else FULL
        self._up = StreamResampler(G711_RATE, WIRE_RATE)

    def _lag(self, waiting: int, now: float) -> float:
        # What a pong waited for on its way back is not the microphone's lag.
        known = self._down_late + self._least_trip
        asked = now - self._pings[0] - known if self._pings else 0.0
        self._heavy = waiting if self.format == FULL else min(self._heavy, waiting)
        light = waiting - self._heavy
        return max(self._heavy / BYTE_RATES[FULL] + light / BYTE_RATES[LIGHT], asked)

    def _look(self, waiting: int, now: float) -> Iterator[Event]:
        if self._lag(waiting, now) > LATE_SECONDS:
            yield from self._late(now)
            return
        if self._tried_at is not None and now - self._tried_at >= PROOF_SECONDS:
            self._tried_at, self._patience = None, PATIENCE_SECONDS
        if self.format == LIGHT and now - self._calm_since >= self._patience:
            self._tried_at = now
            yield self._ask(FULL)

    def _late(self, now: float) -> Iterator[Event]:
        self._calm_since = now
        if self.format == LIGHT:
            return
        if self._tried_at is not None:
            self._patience = min(MAX_PATIENCE, 2 * self._patience)
        self._tried_at = None
        yield self._ask(LIGHT)

    def _ask(self, wanted: WireFormat) -> Event:
        self.format = wanted
        self.changes += 1
        self._down, self._frames = StreamResampler(WIRE_RATE, G711_RATE), []
        kind = {"type": f"audio/{wanted.kind}"}
        sound = {"format": kind if wanted == LIGHT else {**kind, "rate": wanted.rate}}
        audio = {"input": sound, "output": sound}
        return {"type": "session.update", "session": {"type": "realtime", "audio": audio}}


def as_text(event: Event) -> str:
    """An event as it goes over the wire."""
    return json.dumps(event)
