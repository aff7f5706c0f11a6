"""Jitter buffer that puts RTP packets back into order and time without delaying all of them.

A jitter buffer for playout delays every packet so that playback never runs dry. A recogniser
needs no even flow: packets in order leave at once, a missing packet is waited for only until a
few later ones are here, and a lost packet becomes a gap of known length. So the audio that
leaves is as long as the time that passed, and a loss leaves no delay behind.

Pure: no clock, no sockets. Sequence numbers (16 bits) and timestamps (32 bits) wrap around;
restarts are recognised as in RFC 3550, appendix A.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

HOLD = 2
"""Later packets for which a missing one is waited for."""
HOLD_SECONDS = 0.06
"""Seconds for which a missing packet is waited for, at most."""
MAX_JUMP = 100
"""Packets; a greater jump of sequence numbers, either way, is another stream."""
MAX_GAP_SECONDS = 2.0
"""Seconds; a longer jump of the sender's clock counts as a restart, not as lost audio."""
SILENT_SECONDS = 0.4
"""Seconds without packets after which silence is inserted, so that time goes on. A burst after a
shorter stall is kept whole."""
MAX_SURPLUS_SECONDS = 10.0
"""Seconds by which the audio that left may be ahead of time: after stalls that are longer than
``MAX_GAP_SECONDS`` what was said meanwhile is heard whole, although silence stood for it."""
MAX_SILENCE_SECONDS = 10.0
"""Seconds without packets after which no more silence is inserted until the next packet."""


@dataclass(frozen=True, slots=True)
class RtpSound:
    """One packet. Times and durations are in samples of the media clock.

    Attributes:
        source: SSRC.
        sequence: sequence number, 16 bits.
        timestamp: time of the first sample, 32 bits.
        duration: length of the audio.
        payload: the encoded audio.
        skip: samples at its beginning whose time was filled already.
    """

    source: int
    sequence: int
    timestamp: int
    duration: int
    payload: bytes
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Lost audio of ``duration`` samples."""

    duration: int


class JitterBuffer:
    """The packets of one track.

    Args:
        rate: ticks of the media clock per second.

    Attributes:
        late: packets that came twice, or after their time was filled.
        silence_limit: seconds without packets after which no more silence is inserted.
        surplus: samples by which the audio that left is ahead of time. Whoever leaves out audio
            that says nothing takes it off here.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._waiting: dict[int, RtpSound] = {}
        self._source: int | None = None
        self._next_sequence = 0
        self._next_time = 0
        self._frame = 0
        self._newest_end = 0
        self._arrived_at = 0.0
        self._blocked_since: float | None = None
        self._stray: int | None = None
        self.late = 0
        self.surplus = 0
        self.silence_limit = MAX_SILENCE_SECONDS

    def add(self, packet: RtpSound, now: float) -> list[RtpSound | Gap]:
        """Take a packet that arrived at second ``now``; returns the audio ready, in order."""
        if packet.source != self._source:
            self._restart(packet)
        ahead = _signed(packet.sequence - self._next_sequence, 16)
        if abs(ahead) > MAX_JUMP:
            if packet.sequence != self._stray:
                self._stray = _wrap(packet.sequence + 1, 16)
                return []
            self._restart(packet)
            ahead = 0
        self._stray = None
        self._arrived_at = now
        if ahead < 0 or packet.sequence in self._waiting:
            self.late += 1
            return []
        self._waiting[packet.sequence] = packet
        return list(self._drain(now))

    def fill(self, now: float) -> list[RtpSound | Gap]:
        """The audio that is ready because time passed; call it every few tens of milliseconds."""
        if self._source is None:
            return []
        return [*self._drain(now), *self._silence(now)]

    def _restart(self, packet: RtpSound) -> None:
        self._source = packet.source
        self._waiting.clear()
        self._blocked_since = None
        self._next_sequence = packet.sequence
        self._next_time = packet.timestamp

    def _drain(self, now: float) -> Iterator[RtpSound | Gap]:
        while self._waiting:
            packet = self._waiting.pop(self._next_sequence, None)
            if packet is None:
                if not self._gives_up(now):
                    return
                self._next_sequence = min(self._waiting, key=self._distance)
                continue
            self._blocked_since = None
            self._next_sequence = _wrap(self._next_sequence + 1, 16)
            yield from self._in_time(packet)

    def _gives_up(self, now: float) -> bool:
        if self._blocked_since is None:
            self._blocked_since = now
        waited = now - self._blocked_since
        return len(self._waiting) >= HOLD or waited >= HOLD_SECONDS

    def _distance(self, sequence: int) -> int:
        return _wrap(sequence - self._next_sequence, 16)

    def _in_time(self, packet: RtpSound) -> Iterator[RtpSound | Gap]:
        """``packet``, after the gap before it, without the part that was filled meanwhile."""
        missing = _signed(packet.timestamp - self._next_time, 32)
        if self._begins_anew(packet, missing):
            self._next_time, missing = packet.timestamp, 0
        if missing > 0:
            yield Gap(missing)
        skip = max(0, -missing)
        self._frame = packet.duration
        self._newest_end = _wrap(packet.timestamp + packet.duration, 32)
        if skip >= packet.duration:
            self.late += 1
            return
        self._next_time = self._newest_end
        yield RtpSound(
            packet.source,
            packet.sequence,
            packet.timestamp,
            packet.duration,
            packet.payload,
            skip,
        )

    def _begins_anew(self, packet: RtpSound, missing: int) -> bool:
        """Whether a packet is taken as it is, wherever the audio that left has come to."""
        limit = MAX_GAP_SECONDS * self._rate
        if missing >= -limit:
            return missing > limit
        if _signed(self._newest_end - packet.timestamp, 32) > limit:
            return True  # the sender's clock went back
        if self.surplus - missing > MAX_SURPLUS_SECONDS * self._rate:
            return False
        self.surplus -= missing
        return True

    def _silence(self, now: float) -> Iterator[Gap]:
        """Silence in whole frames, inserted as late as possible, so that a stall loses no words."""
        quiet = now - self._arrived_at
        if self._waiting or not self._frame or quiet > self.silence_limit:
            return
        due = int((quiet - SILENT_SECONDS) * self._rate)
        due += _signed(self._newest_end - self._next_time, 32)
        frames = due // self._frame
        if frames > 0:
            self._next_time = _wrap(self._next_time + frames * self._frame, 32)
            yield Gap(frames * self._frame)


def _wrap(value: int, bits: int) -> int:
    return value % (1 << bits)


def _signed(value: int, bits: int) -> int:
    """``value``, which wraps around, as a signed distance."""
    half = 1 << (bits - 1)
    return (value + half) % (1 << bits) - half
