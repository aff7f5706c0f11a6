"""Peer connections of aiortc, with the received RTP packets diverted to our jitter buffer.

aiortc's receiver delays every packet by 80 ms, and by 200 ms more for good after the first loss;
see docs/adr/0009-own-jitter-buffer.md. Only this module and ``rtc_guard`` use private names of
aiortc, whose version is pinned for that.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
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
from aiortc.stats import RTCRemoteInboundRtpStreamStats

from agent.config.settings import IceServer
from agent.errors import OnebreathError
from agent.transports.ice_fragment import MAX_PORT, IceFragment, has_port
from agent.transports.rtc_guard import guard
from agent.transports.rtc_track import SpeechTrack
from agent.transports.turn import credentials

log = logging.getLogger("onebreath.webrtc")

MAX_SDP = 65_536
"""Characters of an offer, at most."""
MAX_CANDIDATES = 32
ANSWER_SECONDS = 5.0
"""Seconds for an answer; it takes longer only where a candidate's name cannot be resolved."""
CLOSE_SECONDS = 3.0
"""Seconds that a connection has to close as a whole; then its sockets are closed."""
_DIRECTION = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)[ \t]*\r?$", re.MULTILINE)
_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_CONNECT = "_RTCPeerConnection__connect"
_CLOSED = "_RTCPeerConnection__isClosed"


class BadOffer(OnebreathError):
    """An SDP offer that cannot be answered; the message says why."""


class PacketTap:
    """Takes the place of aiortc's jitter buffer and passes every packet to ``take``."""

    def __init__(self, take: Callable[[RtpPacket], None]) -> None:
        self._take = take

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take a packet; aiortc's decoder gets no frame."""
        self._take(packet)
        return False, None


def divert(receiver: RTCRtpReceiver, take: Callable[[RtpPacket], None]) -> None:
    """Give the packets of ``receiver`` to ``take`` instead of buffering and decoding them.

    Raises:
        RuntimeError: the installed aiortc differs from the pinned version.
    """
    if not isinstance(getattr(receiver, _BUFFER, None), AioRtcJitterBuffer):
        raise RuntimeError("aiortc has moved its jitter buffer; install the pinned version")
    setattr(receiver, _BUFFER, PacketTap(take))


def check_offer(sdp: str) -> None:
    """Check that an offer can become a call.

    Raises:
        BadOffer: it is too long or not SDP, has other sections than audio and a data channel,
            bundles them with one that it lacks, or has too many or odd candidates.
    """
    if len(sdp) > MAX_SDP:
        raise BadOffer(f"the offer has {len(sdp)} characters; {MAX_SDP} are allowed")
    try:
        offer = SessionDescription.parse(sdp)
    except Exception as error:  # at bad text the parser raises every kind of error
        why = f" ({error})" if str(error) else ""
        raise BadOffer(f"the offer is no SDP that can be read{why}") from None
    media = offer.media
    kinds = sorted(section.kind for section in media if section.port)
    if kinds != ["application", "audio"]:
        found = ", ".join(kinds) or "nothing"
        raise BadOffer(
            "an offer has one audio section and one data channel section, no video; "
            f"this one has {found}. Add the microphone and create the channel before the offer"
        )
    if not all(section.dtls for section in media if section.port):
        raise BadOffer(
            "the offer has no a=setup or no a=fingerprint, without which nothing can be encrypted"
        )
    if not all(section.dtls and section.dtls.fingerprints for section in media if section.port):
        raise BadOffer("the offer has no a=fingerprint, without which nothing can be encrypted")
    _check_bundle(offer)
    candidates = [candidate for section in media for candidate in section.ice_candidates]
    if len(candidates) > MAX_CANDIDATES:
        raise BadOffer(f"the offer has {len(candidates)} candidates; {MAX_CANDIDATES} are allowed")
    if not all(map(has_port, candidates)):
        raise BadOffer(f"the offer has a candidate whose port is none from 0 to {MAX_PORT}")


def _check_bundle(offer: SessionDescription) -> None:
    """Check that sections are bundled with one that is there: aiortc has no transport else."""
    mids = {section.rtp.muxId for section in offer.media}
    bundle = next((group.items for group in offer.group if group.semantic == "BUNDLE"), [])
    if bundle and bundle[0] not in mids and mids.intersection(bundle[1:]):
        first = str(bundle[0])[:40]
        raise BadOffer(f"a=group:BUNDLE begins with {first!r}, which is the a=mid of no section")


def with_directions(sdp: str) -> str:
    """The offer with a direction in each media section, which aiortc asks for.

    Without one a section has that of the session, or ``sendrecv`` (RFC 8866, section 6.7).
    """
    session, *sections = re.split(r"^(?=m=)", sdp, flags=re.MULTILINE)
    default = _direction(session) or "sendrecv"
    return session + "".join(
        section if _direction(section) else f"{section.rstrip()}\r\na={default}\r\n"
        for section in sections
    )


def _direction(lines: str) -> str | None:
    """The direction that some lines of an offer name."""
    found = _DIRECTION.search(lines)
    return None if found is None else found[1]


def ice_of(sdp: str) -> tuple[str | None, int]:
    """The ICE user name of an offer that `check_offer` has passed, and its number of candidates."""
    media = SessionDescription.parse(sdp).media
    names = [section.ice.usernameFragment for section in media if section.ice is not None]
    return next(filter(None, names), None), sum(len(section.ice_candidates) for section in media)


async def add_candidates(peer: RTCPeerConnection, fragment: IceFragment) -> None:
    """Give a connection candidates that came after its offer.

    Raises:
        BadOffer: the connection cannot take them.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):  # names of mDNS are asked for, all at once
            await asyncio.gather(*map(peer.addIceCandidate, fragment.candidates))
    except Exception as error:  # at odd candidates aiortc raises every kind of error
        raise BadOffer(f"the candidates cannot be taken: {error!r}") from None


def new_peer(
    track: SpeechTrack, take: Callable[[RtpPacket], None], servers: Sequence[IceServer]
) -> RTCPeerConnection:
    """A connection that sends ``track`` as Opus and gives received packets to ``take``."""
    ice = [RTCIceServer(server.urls, *credentials(server)) for server in servers]
    peer = RTCPeerConnection(RTCConfiguration(iceServers=ice))
    peer.addTrack(track)
    (transceiver,) = peer.getTransceivers()
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "audio/opus"])
    divert(transceiver.receiver, take)
    _close_if_it_cannot_connect(peer)
    return peer


def _close_if_it_cannot_connect(peer: RTCPeerConnection) -> None:
    """Close the connection where connecting raises; aiortc leaves it open, and a traceback."""
    connect = getattr(peer, _CONNECT)

    async def connect_or_close() -> None:
        try:
            await connect()
        except Exception as error:  # at an odd offer aiortc raises every kind of error
            log.info("a connection cannot be made: %r", error)
            await close(peer)

    setattr(peer, _CONNECT, connect_or_close)


async def close(peer: RTCPeerConnection) -> None:
    """Close a connection, also one of which an odd offer left parts unmade; twice is harmless.

    There aiortc's own ``close`` raises, or waits for a task that has ended; it closes no sockets,
    and waits for ever the next time.
    """
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await peer.close()
    except Exception as error:  # every kind: which parts are missing depends on the offer
        log.info("a connection was closed in pieces: %r", error)
        for transport in _transports(peer):
            with suppress(Exception):
                await transport.stop()
                await transport.transport.stop()
        closed = getattr(peer, _CLOSED)
        if closed.cancelled():  # by the timeout above, where another had begun to close it
            setattr(peer, _CLOSED, closed := asyncio.get_running_loop().create_future())
        if not closed.done():
            closed.set_result(True)


def _transports(peer: RTCPeerConnection) -> set[Any]:
    """The DTLS transports that a connection has by now."""
    found: set[Any] = {each.sender.transport for each in peer.getTransceivers()}
    found |= {each.receiver.transport for each in peer.getTransceivers()}
    if peer.sctp is not None:
        found.add(peer.sctp.transport)
    return found - {None}


async def answer(peer: RTCPeerConnection, sdp: str, hosts: Sequence[str]) -> str:
    """Answer the offer ``sdp``; returns the answer with all its candidates.

    Raises:
        BadOffer: the offer cannot be answered.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await peer.setRemoteDescription(RTCSessionDescription(with_directions(sdp), "offer"))
            listen_on(peer, hosts)
            await peer.setLocalDescription(await peer.createAnswer())
            guard(peer)  # nothing was awaited since the connection began to be made
    except Exception as error:  # at an odd offer aiortc raises every kind of error
        raise BadOffer(f"the offer cannot be answered: {error!r}") from None
    return str(peer.localDescription.sdp)


async def reported_loss(peer: RTCPeerConnection) -> tuple[datetime, float] | None:
    """The newest report of the other side about our audio.

    Returns:
        The time of the report, and the share of the packets that it had lost since the one before,
        from 0 to 1; None: there is no report yet.
    """
    for sender in peer.getSenders():
        for stats in (await sender.getStats()).values():
            if isinstance(stats, RTCRemoteInboundRtpStreamStats):
                return stats.timestamp, stats.fractionLost / 256
    return None


def unconfirmed(peer: RTCPeerConnection) -> int:
    """Bytes of sent messages whose arrival is not confirmed, those that wait to be sent included.

    ``bufferedAmount`` of a channel counts only what SCTP has not taken yet.
    """
    sctp: Any = peer.sctp
    if sctp is None:
        return 0
    waiting = sum(len(data) for _, _, data in sctp._data_channel_queue)
    taken = (chunk for queue in (sctp._sent_queue, sctp._outbound_queue) for chunk in queue)
    return waiting + sum(len(chunk.user_data) for chunk in taken if not chunk._acked)


def lose_packets(peer: RTCPeerConnection, lost: Callable[[], bool]) -> None:
    """Drop the sent media packets for which ``lost`` is true, for measurements."""
    transports: set[Any] = {t.sender.transport for t in peer.getTransceivers()}
    for transport in transports:
        send = transport._send_rtp

        async def send_some(data: bytes, send: Any = send) -> None:
            if not lost():
                await send(data)

        transport._send_rtp = send_some


def listen_on(peer: RTCPeerConnection, hosts: Sequence[str]) -> None:
    """Gather candidates on ``hosts`` only; without hosts, on all addresses but loopback."""
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
