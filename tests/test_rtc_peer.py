"""What we rely on in aiortc."""

from pathlib import Path

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver
from aiortc.rtp import RtpPacket

from agent.transports.rtc_peer import divert


async def test_aiortc_is_built_as_we_think():
    """Fails when aiortc moves what rtc_peer.py replaces; then read docs/adr/0009."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    receiver = peer.addTransceiver("audio").receiver
    taken = []
    divert(receiver, taken.append)
    codec = RTCRtpReceiver.getCapabilities("audio").codecs[0]
    codec.payloadType = 96
    receiver._RTCRtpReceiver__codecs[96] = codec
    packet = RtpPacket(payload_type=96, sequence_number=1)
    packet.payload = b"\xfc"
    await receiver._handle_rtp_packet(packet, 0)
    assert [p.payload for p in taken] == [b"\xfc"]
    peer.createDataChannel("x")
    assert peer.sctp._advertised_rwnd == 2**20
    await peer.close()


def test_another_aiortc_is_refused():
    class Rebuilt:
        pass

    with pytest.raises(RuntimeError, match="pinned"):
        divert(Rebuilt(), print)


def test_only_two_modules_know_private_names_of_aiortc():
    root = Path(__file__).parent.parent / "agent"
    known = {p.name for p in root.rglob("*.py") if "_RTC" in p.read_text()}
    assert known == {"rtc_peer.py", "rtc_guard.py"}
