"""The receiver of a track over a stall of the network."""

from __future__ import annotations

import time

import numpy as np
import pytest
from aiortc.rtp import RtpPacket

from agent.transports.opus import FRAME, RATE, OpusEncoder
from agent.transports.rtp_receiver import RtpReceiver

SECONDS = FRAME / RATE


def after_a_stall(level, seconds, monkeypatch):
    """Seconds by which the sound is ahead of time, right after a stall of 3 s and in the end."""
    clock, lengths = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    receiver = RtpReceiver(lambda samples: lengths.append(len(samples)))
    encoder = OpusEncoder(32_000)
    tone = level * np.sin(2 * np.pi * 300 * np.arange(FRAME) / RATE).astype(np.float32)
    waiting, ahead = [], []
    for number in range(round(seconds / SECONDS)):
        clock[0] = (number + 1) * SECONDS
        packet = RtpPacket(sequence_number=number, timestamp=number * FRAME)
        packet.payload = encoder.encode(tone)
        waiting.append(packet)
        if not 1.0 <= clock[0] < 4.0:
            for each in waiting:
                receiver.take(each)
            waiting.clear()
        receiver.tick()
        ahead.append(sum(lengths) / RATE - clock[0])
    return ahead[round(4.1 / SECONDS)], ahead[-1]


@pytest.mark.slow
def test_silence_after_a_stall_brings_the_sound_back_to_real_time(monkeypatch):
    first, last = after_a_stall(0.0, 60.0, monkeypatch)
    assert 1.2 < first < 2.7, "what was said meanwhile, beside its silence"
    assert abs(last) <= 2 * SECONDS


@pytest.mark.slow
def test_speech_after_a_stall_is_left_whole(monkeypatch):
    first, last = after_a_stall(0.3, 20.0, monkeypatch)
    assert last == pytest.approx(first)


@pytest.mark.slow
def test_a_long_quiet_catches_up_soon(monkeypatch):
    """Stalls every 15 s, of a caller who listens for half of the time, add nothing up."""
    first, last = after_a_stall(0.0, 10.0, monkeypatch)
    assert first > 1.2
    assert abs(last) <= 2 * SECONDS
