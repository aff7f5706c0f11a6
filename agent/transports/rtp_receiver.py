"""Receiver of one RTP track: packets are put in order and decoded, gaps are concealed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from aiortc.rtp import RtpPacket

from agent.audio.samples import NOISE_FLOOR_DBFS, Samples, first_above
from agent.errors import AudioError
from agent.transports.jitter_buffer import Gap, JitterBuffer, RtpSound
from agent.transports.opus import RATE, OpusDecoder, packet_duration

CATCH_UP = 16
"""Of so many quiet pieces one is left out while the audio is ahead of time, after a stall."""
LONG_QUIET = 2 * RATE
"""Samples of quiet sound behind which an end of a turn is hardly ever still waited for."""
KEPT_LATER = 8
"""Of so many quiet pieces behind that one is kept."""


class RtpReceiver:
    """Turns packets as they arrive into audio that is as long as the time that passed.

    Args:
        deliver: called with every piece of audio, float32 mono at 48 kHz.

    Attributes:
        concealed: samples so far that were made up in place of lost ones.
    """

    def __init__(self, deliver: Callable[[Samples], None]) -> None:
        self._deliver = deliver
        self._jitter = JitterBuffer(RATE)
        self._decoder = OpusDecoder()
        self._quiet = 0
        """Quiet pieces while the audio was ahead of time."""
        self._still = 0
        """Samples of them since the last loud piece."""
        self.concealed = 0

    def limit_silence(self, seconds: float) -> None:
        """Insert silence for at most ``seconds`` without packets."""
        self._jitter.silence_limit = seconds

    def take(self, packet: RtpPacket) -> None:
        """Take a packet as it arrives; a packet that is not Opus counts as lost."""
        try:
            duration = packet_duration(packet.payload)
        except AudioError:
            return
        sound = RtpSound(
            packet.ssrc, packet.sequence_number, packet.timestamp, duration, packet.payload
        )
        self._play(self._jitter.add(sound, time.monotonic()))

    def tick(self) -> None:
        """Let time pass; call it every few tens of milliseconds."""
        self._play(self._jitter.fill(time.monotonic()))

    def _play(self, pieces: Sequence[RtpSound | Gap]) -> None:
        for piece in pieces:
            if isinstance(piece, Gap):
                self.concealed += piece.duration
                self._deliver(self._decoder.conceal(piece.duration))
            else:
                samples = self._decoded(piece)[piece.skip :]
                if not self._may_be_left_out(samples):
                    self._deliver(samples)

    def _may_be_left_out(self, samples: Samples) -> bool:
        if self._jitter.surplus <= 0 or first_above(samples, NOISE_FLOOR_DBFS) is not None:
            self._still = 0
            return False
        self._still += len(samples)
        self._quiet += 1
        if self._still > LONG_QUIET:
            kept = self._quiet % KEPT_LATER == 0
        else:
            kept = self._quiet % CATCH_UP != 0
        if not kept:
            self._jitter.surplus -= len(samples)
        return not kept

    def _decoded(self, sound: RtpSound) -> Samples:
        try:
            return self._decoder.decode(sound.payload)
        except AudioError:
            self.concealed += sound.duration
            return self._decoder.conceal(sound.duration)
