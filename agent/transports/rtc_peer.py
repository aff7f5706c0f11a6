"""aiortc, with what it does to sound on the way in replaced.

Its receiver holds every packet back for 80 ms, and 200 ms more for ever after the first loss;
see docs/adr/0009-own-jitter-buffer.md. This module is the only one that touches private
names of aiortc, whose version is pinned for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.jitterbuffer import JitterBuffer as AioRtcJitterBuffer
from aiortc.rtp import RtpPacket
from aiortc.sdp import SessionDescription

from agent.config.settings import IceServer
from agent.errors import OnebreathError
from agent.transports.rtc_track import SpeechTrack

MAX_SDP = 65_536
"""Characters of an offer."""
MAX_CANDIDATES = 32
ANSWER_SECONDS = 5.0
"""An answer takes longer only when a name among the candidates cannot be resolved."""
_BUFFER = "_RTCRtpReceiver__jitter_buffer"


class BadOffer(OnebreathError):
    """An SDP offer that cannot be answered; the message says why."""


class PacketTap:
    """Stands where aiortc's jitter buffer would, and never hands anything to its decoder."""

    def __init__(self, take: Callable[[RtpPacket], None]) -> None:
        self._take = take

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        self._take(packet)
        return False, None


def divert(receiver: RTCRtpReceiver, take: Callable[[RtpPacket], None]) -> None:
    """Give the packets of ``receiver`` to ``take`` instead of buffering and decoding them.

    Raises:
        RuntimeError: this aiortc is built otherwise than the one that is pinned.
    """
    if not isinstance(getattr(receiver, _BUFFER, None), AioRtcJitterBuffer):
        raise RuntimeError("aiortc has moved its jitter buffer; install the pinned version")
    setattr(receiver, _BUFFER, PacketTap(take))


def check_offer(sdp: str) -> None:
    """Refuse what no call can be made of.

    Raises:
        BadOffer: too long, no SDP, not one audio section and one for events, too many candidates.
    """
    if len(sdp) > MAX_SDP:
        raise BadOffer(f"the offer has {len(sdp)} characters; {MAX_SDP} are allowed")
    try:
        media = SessionDescription.parse(sdp).media
    except Exception as error:  # the parser lets every kind of error out at bad text
        raise BadOffer(f"the offer is no SDP that can be read: {error!r}") from None
    kinds = sorted(section.kind for section in media if section.port)
    if kinds != ["application", "audio"]:
        found = ", ".join(kinds) or "nothing"
        raise BadOffer(
            "an offer has one audio section and one data channel section, no video; "
            f"this one has {found}. Add the microphone and create the channel before the offer"
        )
    candidates = sum(len(section.ice_candidates) for section in media)
    if candidates > MAX_CANDIDATES:
        raise BadOffer(f"the offer has {candidates} candidates; {MAX_CANDIDATES} are allowed")


def new_peer(
    track: SpeechTrack, take: Callable[[RtpPacket], None], servers: Sequence[IceServer]
) -> RTCPeerConnection:
    """A connection that sends ``track`` as Opus and gives what arrives to ``take``."""
    ice = [RTCIceServer(server.urls, server.username, server.credential) for server in servers]
    peer = RTCPeerConnection(RTCConfiguration(iceServers=ice))
    peer.addTrack(track)
    (transceiver,) = peer.getTransceivers()
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "audio/opus"])
    divert(transceiver.receiver, take)
    return peer


async def answer(peer: RTCPeerConnection, sdp: str, hosts: Sequence[str]) -> str:
    """Take the offer ``sdp``; returns the answer with all its candidates.

    Raises:
        BadOffer: it cannot be answered.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
            listen_on(peer, hosts)
            await peer.setLocalDescription(await peer.createAnswer())
    except Exception as error:  # aiortc lets every kind of error out at an odd offer
        raise BadOffer(f"the offer cannot be answered: {error!r}") from None
    return str(peer.localDescription.sdp)


def overrun(peer: RTCPeerConnection) -> bool:
    """Whether pieces of unfinished messages fill more than the window for them, 1 MiB.

    aiortc announces the window and does not keep to it.
    """
    return peer.sctp is not None and peer.sctp._advertised_rwnd < 0


def lose_packets(peer: RTCPeerConnection, lost: Callable[[], bool]) -> None:
    """Let the line from here lose the media packets for which ``lost`` is true, to measure it."""
    transports: set[Any] = {t.sender.transport for t in peer.getTransceivers()}
    for transport in transports:
        send = transport._send_rtp

        async def send_some(data: bytes, send: Any = send) -> None:
            if not lost():
                await send(data)

        transport._send_rtp = send_some


def listen_on(peer: RTCPeerConnection, hosts: Sequence[str]) -> None:
    """Gather candidates on ``hosts`` only; all addresses but loopback where none is given."""
    if not hosts:
        return
    transports = {t.sender.transport.transport for t in peer.getTransceivers()}
    if peer.sctp is not None:
        transports.add(peer.sctp.transport.transport)
    for transport in transports:
        connection: Any = transport._connection
        gather = connection.get_component_candidates

        async def gather_there(
            component: int, addresses: list[str], gather: Any = gather
        ) -> list[Any]:
            return list(await gather(component=component, addresses=list(hosts)))

        connection.get_component_candidates = gather_there
