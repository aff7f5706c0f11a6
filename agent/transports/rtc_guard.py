"""Guards of one peer connection: what a hostile peer may send and have sent.

They stand before aiortc and aioice, in the places that a datagram passes on its way, and drop what
those libraries do not survive: malformed packets, floods, and checks of addresses that never
answer. Like ``rtc_peer``, this module uses private names of the two, whose versions are pinned.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from aiortc import RTCPeerConnection

from agent.rates import TokenBucket
from agent.transports.sctp_guard import is_sound

log = logging.getLogger("onebreath.webrtc")

PACKETS_PER_SECOND = 500.0
"""Datagrams of one IP address that are looked at; sound is 50 a second, 64 KiB of text are 55."""
PACKETS_AT_ONCE = 500.0
MAX_SOURCES = 16
"""IP addresses whose datagrams are looked at, for each connection; those of more are dropped."""
MAX_QUEUED = 256
"""Datagrams that may wait for the connection to read them."""
RESENT_PER_SECOND = 100.0
"""Packets that a peer may ask for again; a call sends 50 a second."""
MAX_SSRCS = 16
"""Streams of RTP that are remembered; a report to the peer has room for 31."""
MAX_CHECKS = 60
"""STUN packets to addresses that an offer names and that never answered, for each offer."""
MAX_CHECKS_PER_HOST = 12
"""The same, to one IP address."""
MAX_FRAGMENTS = 2048
"""Pieces of unfinished messages; an event of 64 KiB has 55."""
MAX_STREAMS = 256
"""Streams on which a peer sends; a call needs one."""


def guard(peer: RTCPeerConnection) -> None:
    """Guard a connection whose remote description is set and which gathered its candidates."""
    transports: set[Any] = {t.sender.transport for t in peer.getTransceivers()}
    if peer.sctp is not None:
        transports.add(peer.sctp.transport)
        _guard_sctp(peer.sctp)
    for dtls in transports:
        dtls._handle_rtp_data = _contained(dtls._handle_rtp_data, "RTP")
        _bound_ssrcs(dtls)
        dtls._handle_rtcp_data = _contained(dtls._handle_rtcp_data, "RTCP")
        _guard_ice(dtls.transport._connection)
    for transceiver in peer.getTransceivers():
        guard_resending(transceiver.sender)
        receiver: Any = transceiver.receiver
        # A report that cannot be written would end the task of all reports, and closing waits for
        # that task for ever.
        receiver._send_rtcp = _contained(receiver._send_rtcp, "RTCP report")


def overrun(peer: RTCPeerConnection) -> bool:
    """Whether unfinished messages exceed the receive window of 1 MiB, or are too many pieces.

    aiortc announces the window and does not enforce it.
    """
    sctp = peer.sctp
    if sctp is None:
        return False
    streams = sctp._inbound_streams
    return (
        sctp._advertised_rwnd < 0
        or len(streams) > MAX_STREAMS
        or sum(len(stream.reassembly) for stream in streams.values()) > MAX_FRAGMENTS
    )


def _bound_ssrcs(dtls: Any) -> None:
    """Forget the oldest SSRCs beyond ``MAX_SSRCS``; aiortc keeps figures of each that ever came."""
    handle, router = dtls._handle_rtp_data, dtls._rtp_router

    async def handle_bounded(data: bytes, **options: Any) -> None:
        await handle(data, **options)
        for table in (router.ssrc_table, *_tables(router.receivers)):
            while len(table) > MAX_SSRCS:
                del table[next(iter(table))]

    dtls._handle_rtp_data = handle_bounded


def _tables(receivers: Iterable[Any]) -> Iterator[dict[int, Any]]:
    """What receivers keep by SSRC."""
    for receiver in receivers:
        for name in ("remote_streams", "active_ssrc", "lsr", "lsr_time"):
            yield getattr(receiver, f"_RTCRtpReceiver__{name}")


def _guard_sctp(sctp: Any) -> None:
    handle = _contained(sctp._handle_data, "SCTP")

    async def handle_sound(data: bytes) -> None:
        if is_sound(data, sctp._last_received_tsn):
            await handle(data)
        else:
            log.debug("dropped a malformed SCTP packet of %d bytes", len(data))

    sctp._handle_data = handle_sound


def _contained(handle: Callable[..., Awaitable[None]], what: str) -> Callable[..., Awaitable[None]]:
    """``handle`` without the exceptions that malformed packets raise in it, which end a call."""

    async def handle_contained(*args: Any, **options: Any) -> None:
        try:
            await handle(*args, **options)
        except ConnectionError:
            raise  # the connection's own way of ending
        except Exception as error:  # malformed packets raise every kind
            log.debug("dropped an %s packet: %r", what, error)

    return handle_contained


def guard_resending(sender: Any) -> None:
    """Bound the packets that a peer has sent again: one request names thousands."""
    resend = sender._retransmit
    bucket = TokenBucket(RESENT_PER_SECOND, RESENT_PER_SECOND, time.monotonic())

    async def resend_some(sequence: int) -> None:
        if bucket.take(1, time.monotonic()):
            await resend(sequence)

    sender._retransmit = resend_some


def _guard_ice(connection: Any) -> None:
    sources, checks = Sources(), Checks()
    for protocol in connection._protocols:
        _guard_socket(protocol, sources, checks)
    deliver = connection.data_received

    def deliver_some(data: bytes, component: int) -> None:
        if data and connection._queue.qsize() < MAX_QUEUED:
            deliver(data, component)

    connection.data_received = deliver_some


def _guard_socket(protocol: Any, sources: Sources, checks: Checks) -> None:
    take, send = protocol.datagram_received, protocol.send_stun

    def take_some(data: bytes, address: tuple[Any, ...]) -> None:
        if not sources.allow(address[0], time.monotonic()):
            return
        checks.heard(address[0])
        try:
            take(data, address)
        except Exception as error:  # malformed STUN raises every kind
            log.debug("dropped a datagram: %r", error)

    def send_some(message: Any, address: tuple[str, int]) -> None:
        if checks.allow(address[0]):
            send(message, address)

    protocol.datagram_received = take_some
    protocol.send_stun = send_some


class Sources:
    """Bounds the datagrams of each address, so that a stranger's flood takes no caller's share."""

    def __init__(self) -> None:
        self._buckets: dict[str, TokenBucket] = {}

    def allow(self, host: str, now: float) -> bool:
        """Whether one more datagram of ``host`` is looked at at second ``now``; counts it."""
        if host not in self._buckets:
            if len(self._buckets) >= MAX_SOURCES:
                return False
            self._buckets[host] = TokenBucket(PACKETS_PER_SECOND, PACKETS_AT_ONCE, now)
        return self._buckets[host].take(1, now)


class Checks:
    """Counts packets to addresses that have not answered; an offer can name anybody's."""

    def __init__(self) -> None:
        self._heard: set[str] = set()
        self._sent: Counter[str] = Counter()

    def heard(self, host: str) -> None:
        """Note that a datagram came from ``host``."""
        if host in self._sent:
            self._heard.add(host)

    def allow(self, host: str) -> bool:
        """Whether one more packet may go to ``host``; counts it."""
        if host in self._heard:
            return True
        if self._sent[host] >= MAX_CHECKS_PER_HOST or self._sent.total() >= MAX_CHECKS:
            return False
        self._sent[host] += 1
        return True
