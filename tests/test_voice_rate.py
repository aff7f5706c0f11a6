"""How the agent's voice is coded on a network that loses packets."""

from __future__ import annotations

import numpy as np
import pytest
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket
from support.fakes import speech
from test_protocol import FACTS

from agent.bench.network_link import Condition, DatagramLink
from agent.config.settings import WebRtcSettings
from agent.protocol import EventWriter
from agent.transports import rtc_peer
from agent.transports.opus import FRAME, RATE, OpusDecoder, OpusEncoder
from agent.transports.rtc_track import SpeechTrack
from agent.transports.voice_rate import MAX_PATIENCE, PATIENCE_SECONDS, VoiceCoding, VoiceRate
from agent.transports.webrtc import WebRtcTransport

RTP_BYTES = 34
"""Bytes of the header of RTP with its extensions, and of the tag of SRTP."""
FULL, SAVING, LEAST = VoiceCoding(56_000), VoiceCoding(24_000, 10), VoiceCoding(16_000, 20)


def noise(seconds, rate):
    """Noise, which takes as many bits as an encoder gives it."""
    return np.random.default_rng(1).normal(0, 0.1, seconds * rate).astype(np.float32)


def after(*reports, rate=None):
    """The choice after reports of (share lost, seconds of sound)."""
    rate = rate or VoiceRate(56_000)
    for lost, sound in reports:
        rate.report(lost, sound)
    return rate.coding


def test_a_link_that_is_known_to_be_slow_needs_no_report():
    rate = VoiceRate(56_000)
    rate.report(0.0, 0.0)
    rate.start_slowly()
    rate.start_slowly()
    assert rate.coding == SAVING, "a report of silence says nothing, and one step is enough"


def test_a_voice_that_is_coded_low_already_starts_as_it_is():
    rate = VoiceRate(24_000)
    rate.start_slowly()
    assert rate.coding == VoiceCoding(24_000)


def test_a_report_of_sound_says_more_than_late_events():
    rate = VoiceRate(56_000)
    rate.report(0.0, 5.0)
    rate.start_slowly()
    assert rate.coding == FULL


def test_one_burst_changes_nothing():
    assert after((0.1, 1.0), (0.0, 1.0), (0.1, 1.0), (0.0, 1.0)) == FULL


def test_losses_that_go_on_save_bits_and_correct_errors():
    assert after((0.08, 1.0), (0.06, 1.0)) == SAVING
    assert after((0.08, 1.0), (0.06, 1.0), (0.08, 1.0), (0.08, 1.0)) == SAVING
    assert after(*[(0.15, 1.0)] * 4) == LEAST
    assert after(*[(0.5, 1.0)] * 100) == LEAST


def test_a_link_that_is_too_slow_is_noticed_at_once():
    assert after((0.3, 1.0)) == SAVING


def test_a_higher_rate_is_tried_after_sound_without_losses():
    lossy, clean = (0.3, 1.0), (0.0, 1.0)
    assert after(lossy, *[clean] * (int(PATIENCE_SECONDS) - 1)) == SAVING
    assert after(lossy, *[clean] * int(PATIENCE_SECONDS)) == FULL
    assert after(lossy, *[(0.0, 0.0)] * 1000) == SAVING, "silence proves nothing"
    assert after(lossy, *[(0.03, 1.0)] * 1000) == SAVING


def test_each_attempt_in_vain_is_waited_for_longer():
    rate = VoiceRate(56_000)
    waits = []
    for _ in range(8):
        rate.report(0.3, 1.0)
        assert rate.coding == SAVING
        waits.append(0)
        while rate.coding == SAVING:
            rate.report(0.0, 1.0)
            waits[-1] += 1
    assert waits[:4] == [PATIENCE_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert waits[-1] == MAX_PATIENCE
    after(*[(0.0, 1.0)] * 20, rate=rate)
    assert after((0.3, 1.0), *[(0.0, 1.0)] * int(PATIENCE_SECONDS), rate=rate) == FULL


def test_a_low_setting_is_never_exceeded():
    assert after((0.3, 1.0), rate=VoiceRate(16_000)) == VoiceCoding(16_000, 10)


@pytest.mark.parametrize("coding", [SAVING, LEAST])
def test_error_correction_is_coding_of_speech(coding):
    (packet,) = [OpusEncoder(coding.bitrate, coding.expected_loss).encode(speech(0.02, RATE))]
    assert packet[0] >> 3 < 16, "SILK or hybrid (RFC 6716, table 2), which alone have FEC"


@pytest.mark.parametrize("coding", [SAVING, LEAST])
def test_a_decoder_goes_on_without_a_gap_when_the_coding_changes(coding):
    sound, decoder = speech(1.0, RATE), OpusDecoder()
    heard = []
    for encoder in (OpusEncoder(56_000), OpusEncoder(coding.bitrate, coding.expected_loss)):
        packets = [encoder.encode(sound[i : i + FRAME]) for i in range(0, len(sound), FRAME)]
        heard += [decoder.decode(packet) for packet in packets]
    levels = [float(np.sqrt(np.mean(frame**2))) for frame in heard[3:]]
    assert {len(frame) for frame in heard} == {FRAME}
    assert min(levels) > 0.1


def test_the_voice_fits_a_link_of_64_kilobits():
    link, rate = DatagramLink(Condition("slow", rate=64_000), "seed"), VoiceRate(56_000)
    voice = noise(20, RATE)
    lost_by_second, coding = [], None
    for second in range(20):
        if rate.coding != coding:
            coding = rate.coding
            encoder = OpusEncoder(coding.bitrate, coding.expected_loss)
        lost = 0
        for frame in range(50):
            at = second + frame * 0.02
            packet = encoder.encode(voice[round(at * RATE) :][:FRAME])
            lost += not link.arrivals(len(packet) + RTP_BYTES, at)
        lost_by_second.append(lost)
        rate.report(lost / 50, 1.0)
    assert sum(lost_by_second[:5]) > 5, "the setting's rate does not fit"
    assert sum(lost_by_second[5:]) == 0
    assert coding == SAVING


async def test_a_call_codes_its_voice_by_the_reports_of_its_client(monkeypatch):
    transport = WebRtcTransport(EventWriter(FACTS), WebRtcSettings())
    coded, reports = [], iter([None, *[(second, 0.3) for second in (1, 1, 1, 2)]])

    async def reported(peer):
        return next(reports)

    monkeypatch.setattr(rtc_peer, "reported_loss", reported)
    monkeypatch.setattr(SpeechTrack, "code", lambda track, coding: coded.append(coding))
    try:
        for _ in range(5):
            await transport._adapt()
    finally:
        await transport.hang_up()
    assert coded == [SAVING, LEAST], "each report counts once"


async def test_the_report_of_a_client_is_read_from_its_rtcp():
    transport = WebRtcTransport(EventWriter(FACTS), WebRtcSettings())
    try:
        assert await rtc_peer.reported_loss(transport._peer) is None
        (sender,) = transport._peer.getSenders()
        info = RtcpReceiverInfo(sender._ssrc, 64, 10, 500, 0, 0, 0)
        await sender._handle_rtcp_packet(RtcpRrPacket(1, [info]))
        report = await rtc_peer.reported_loss(transport._peer)
    finally:
        await transport.hang_up()
    assert report is not None
    assert report[1] == 0.25
