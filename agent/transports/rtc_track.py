"""The agent's voice as an RTP stream with one packet every 20 ms."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from agent.audio.samples import Samples
from agent.transports.opus import CLOCK, FRAME, RATE, OpusEncoder
from agent.transports.voice_rate import VoiceCoding

FRAME_SECONDS = FRAME / RATE
MAX_LATE_SECONDS = 0.1
"""Seconds; a sender that is later skips packets instead of sending them in a burst."""
FADE = RATE // 200
"""Samples over which truncated audio fades out, so that it does not click."""

BufferChange = Literal["started", "stopped", "cleared"]


class SpeechTrack(MediaStreamTrack):
    """Sends the queued audio, and silence while the queue is empty.

    The track yields Opus packets, which aiortc sends as they are, without its own encoder
    (stereo, 96 kb/s, a thread of the shared pool per frame) and level meter.

    Args:
        bitrate: bits per second.
        changed: called with the change and the response id when the first audio of a reply is
            sent, when the last is, and when the rest is dropped.

    Attributes:
        sounded: seconds of queued audio, as opposed to silence, that were sent so far.
    """

    kind = "audio"

    def __init__(self, bitrate: int, changed: Callable[[BufferChange, str], None]) -> None:
        super().__init__()
        self._coding = VoiceCoding(bitrate)
        self._encoder = OpusEncoder(bitrate)
        self.sounded = 0.0
        self._changed = changed
        self._queue: deque[Samples] = deque()
        self._response: str | None = None
        self._ended = False
        self._sent = 0
        self._began: float | None = None
        self._slot = 0

    def code(self, coding: VoiceCoding) -> None:
        """Encode from now on with other settings; decoders go on without a gap."""
        if coding != self._coding:
            self._coding = coding
            self._encoder = OpusEncoder(coding.bitrate, coding.expected_loss)

    def begin(self, response_id: str) -> None:
        """Begin the reply ``response_id``, to which audio queued from now on belongs."""
        self._response, self._sent, self._ended = response_id, 0, False

    def play(self, samples: Samples) -> None:
        """Queue audio, float32 mono at 48 kHz."""
        if len(samples):
            self._queue.append(samples)

    def end(self) -> None:
        """End the reply: all of its audio is queued."""
        self._ended = True
        self._settle()

    def flush(self) -> float:
        """Drop unsent audio; returns the seconds of the reply that were sent."""
        sent = self._sent / RATE
        if self._queue:
            rest = self._queue.popleft()[:FADE]
            self._queue.clear()
            ramp = np.linspace(1, 0, len(rest), dtype=np.float32)
            self._queue.append(rest * ramp)
        if self._response is not None and self._sent:
            self._changed("cleared", self._response)
        self._response = None
        return sent

    @property
    def unsent(self) -> float:
        """Seconds of queued audio."""
        return sum(map(len, self._queue)) / RATE

    async def recv(self) -> av.Packet[Any]:
        """Wait for the time of the next packet and return it; called by aiortc's sender."""
        if self.readyState != "live":
            raise MediaStreamError
        if self._began is None:
            self._began = time.monotonic()
        late = time.monotonic() - (self._began + self._slot * FRAME_SECONDS)
        if late < 0:
            await asyncio.sleep(-late)
        elif late > MAX_LATE_SECONDS:
            self._slot += int(late / FRAME_SECONDS)
        packet = av.Packet(self._encoder.encode(self._next_frame()))
        packet.pts, packet.time_base = self._slot * FRAME, CLOCK
        self._slot += 1
        return packet

    def _next_frame(self) -> Samples:
        frame = np.zeros(FRAME, np.float32)
        filled = 0
        while filled < FRAME and self._queue:
            head = self._queue.popleft()
            used = min(len(head), FRAME - filled)
            frame[filled : filled + used] = head[:used]
            filled += used
            if used < len(head):
                self._queue.appendleft(head[used:])
        self.sounded += filled / RATE
        if filled and self._response is not None:
            if not self._sent:
                self._changed("started", self._response)
            self._sent += filled
        self._settle()
        return frame

    def _settle(self) -> None:
        if self._ended and not self._queue and self._response is not None:
            if self._sent:
                self._changed("stopped", self._response)
            self._response = None
