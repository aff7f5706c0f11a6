"""Hostile WebRTC peers: a call may end by what it sends, the server and other calls may not."""

import asyncio
import gc
import random
import socket
import struct
import time
from types import SimpleNamespace

import httpx
import pytest
from aioice import stun
from aiortc import RTCRtpReceiver
from aiortc.rtcsctptransport import parse_packet
from aiortc.rtp import RtcpByePacket, RtcpRrPacket, RtcpRtpfbPacket, RtcpSdesPacket, RtpPacket
from hypothesis import given
from hypothesis import strategies as st
from support import packets
from support.packets import chunk, init, parameter, sack, sctp
from support.webrtc_calls import agent, call, offer_of, post, until_free

from agent.transports.rtc_guard import (
    MAX_CHECKS,
    MAX_CHECKS_PER_HOST,
    MAX_SOURCES,
    MAX_SSRCS,
    PACKETS_AT_ONCE,
    RESENT_PER_SECOND,
    Checks,
    Sources,
    guard_resending,
)
from agent.transports.sctp_guard import MAX_GAP_END, MAX_TSN_AHEAD, is_sound

# ---- single packets --------------------------------------------------------------------

NO_LENGTH = parameter(7, length=0)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(sctp(init(NO_LENGTH)), id="INIT"),
        pytest.param(sctp(init(NO_LENGTH, kind=2)), id="INIT ACK"),
        pytest.param(sctp(init(parameter(0x8008, b"\x82"), parameter(7, length=3))), id="short"),
        pytest.param(sctp(chunk(130, NO_LENGTH)), id="RE-CONFIG"),
        pytest.param(sctp(chunk(4, NO_LENGTH)), id="HEARTBEAT"),
        pytest.param(sctp(chunk(5, NO_LENGTH)), id="HEARTBEAT ACK"),
        pytest.param(sctp(chunk(6, NO_LENGTH)), id="ABORT"),
        pytest.param(sctp(chunk(9, NO_LENGTH)), id="ERROR"),
        pytest.param(sctp(chunk(11), chunk(130, NO_LENGTH)), id="the second chunk"),
        pytest.param(sctp(init(parameter(7, b"1234", length=400))), id="too long"),
        pytest.param(sctp(chunk(130, parameter(13, b"1234"))), id="a short reset"),
        pytest.param(sctp(chunk(130, parameter(13, bytes(13)))), id="half a stream's number"),
        pytest.param(sctp(init(), chunk(11)), id="INIT with company"),
        pytest.param(sctp(chunk(1, bytes(8))), id="a short INIT"),
        pytest.param(sctp(chunk(11, length=3)), id="a short chunk"),
        pytest.param(sctp(chunk(11, length=64)), id="a long chunk"),
        pytest.param(sctp(), id="no chunk"),
        pytest.param(b"", id="nothing"),
        pytest.param(sctp(sack(1, (1, MAX_GAP_END + 1))), id="a far gap"),
        pytest.param(sctp(sack(1, (5, 2))), id="a gap backwards"),
        pytest.param(sctp(sack(1, *[(1, 4000)] * 290)), id="one gap many times"),
        pytest.param(sctp(chunk(3, struct.pack("!LLHH", 1, 9, 65535, 0))), id="gaps left out"),
        pytest.param(sctp(chunk(3, bytes(4))), id="a short SACK"),
        pytest.param(sctp(chunk(0, bytes(12))), id="data without data"),
        pytest.param(sctp(packets.data(7 + MAX_TSN_AHEAD + 1)), id="data far ahead"),
        pytest.param(sctp(chunk(192, bytes(6))), id="half a stream to skip"),
    ],
)
def test_packets_that_aiortc_does_not_survive_are_refused(packet):
    assert not is_sound(packet, 7)


@pytest.mark.parametrize(
    "packet",
    [
        sctp(init(parameter(0xC000), parameter(0x8008, b"\xc0\x82"))),
        sctp(init(parameter(7, bytes(24)), kind=2)),
        sctp(chunk(10, bytes(24)), packets.data(8)),
        sctp(chunk(11), sack(7, (2, 3), (5, 5), duplicates=(4,))),
        sctp(packets.data(8), packets.data(9, bytes(1100))),
        sctp(packets.data(3)),  # a duplicate
        sctp(chunk(130, parameter(13, bytes(14)))),
        sctp(chunk(130, parameter(16, bytes(8)))),
        sctp(chunk(4, parameter(1, b"any information"))),
        sctp(chunk(6)),
        sctp(chunk(7, bytes(4))),
        sctp(chunk(192, bytes(8))),
        sctp(chunk(99, b"of a later RFC")),
    ],
)
def test_packets_of_honest_peers_pass(packet):
    assert is_sound(packet, 7)


GOOD = [
    sctp(init(parameter(0xC000), parameter(0x8008, b"\xc0\x82"))),
    sctp(chunk(11), sack(7, (2, 3), (5, 5), duplicates=(4,))),
    sctp(chunk(130, parameter(13, bytes(16)) + parameter(16, bytes(8)))),
    sctp(chunk(4, parameter(1, b"any information"))),
    sctp(packets.data(8), packets.data(9, bytes(40))),
    sctp(chunk(192, bytes(8))),
]


@pytest.mark.slow
@given(st.sampled_from(GOOD), st.integers(0, 2**32))
def test_what_passes_is_parsed_in_no_time(packet, seed):
    """The checksum is made right again, as a hostile peer would."""
    body = packets.mutated(seed, packet)[12:]
    changed = sctp(body)
    if is_sound(changed, 7):
        began = time.process_time()
        parse_packet(changed)
        assert time.process_time() - began < 0.1


# ---- floods and unanswered checks --------------------------------------------------------


def test_an_address_that_never_answers_gets_few_packets():
    checks = Checks()
    assert [checks.allow("192.0.2.1") for _ in range(20)].count(True) == MAX_CHECKS_PER_HOST
    others = [checks.allow(f"192.0.2.{n % 200 + 2}") for n in range(400)]
    assert others.count(True) == MAX_CHECKS - MAX_CHECKS_PER_HOST
    checks.heard("192.0.2.1")
    assert all(checks.allow("192.0.2.1") for _ in range(100))
    checks.heard("198.51.100.1")  # a stranger's packet opens nothing
    assert not checks.allow("198.51.100.1")


def test_a_flood_from_one_address_takes_no_share_of_another():
    sources = Sources()
    flood = [sources.allow("192.0.2.1", 0.0) for _ in range(2000)]
    assert flood.count(True) == PACKETS_AT_ONCE
    assert sources.allow("192.0.2.2", 0.0)
    assert sources.allow("192.0.2.1", 0.1)
    for number in range(3, 3 + MAX_SOURCES):
        sources.allow(f"192.0.2.{number}", 0.0)
    assert not sources.allow("192.0.2.99", 0.0)


@pytest.mark.slow
async def test_an_offer_makes_the_server_send_few_packets():
    """Each of 32 named addresses would get five in ten seconds, 155 in all."""
    names = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(30)]
    try:
        for name in names:
            name.bind(("127.0.0.1", 0))
            name.setblocking(False)
        offer = await offer_of()
        lines = "".join(
            f"a=candidate:{n} 1 udp {2130706431 - n} 127.0.0.1 {s.getsockname()[1]} typ host\r\n"
            for n, s in enumerate(names)
        )
        named = offer.replace("a=candidate:", f"{lines}a=candidate:", 1)
        async with agent() as (url, _), httpx.AsyncClient(base_url=url) as web:
            assert (await post(web, named)).status_code == 201
            await asyncio.sleep(1.6)  # three of the five tries
            count = sum(received(name) for name in names)
        assert 0 < count <= MAX_CHECKS_PER_HOST
    finally:
        for name in names:
            name.close()


def received(name):
    count = 0
    try:
        while name.recv(2000):
            count += 1
    except BlockingIOError:
        return count
    return count


# ---- a live peer -------------------------------------------------------------------------


async def answered(url):
    """How long the server takes to answer anybody else."""
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=url, timeout=5) as web:
        assert (await web.get("/healthz")).status_code == 200
    return time.monotonic() - began


async def talks(caller):
    """The peer's own call still works."""
    caller.send("onebreath.ping", client_time_ms=1)
    async with asyncio.timeout(5):
        await caller.until("onebreath.pong")


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param([sctp(init(NO_LENGTH))], id="INIT"),
        pytest.param([chunk(130, NO_LENGTH)], id="RE-CONFIG"),
        pytest.param([sack(1, *[(1, 65535)] * 250)], id="gaps"),
    ],
)
async def test_one_packet_does_not_stop_the_server(hostile):
    async with agent() as (url, _), call(url) as caller:
        for packet in hostile:
            await send_sctp(caller, packet)
        await asyncio.sleep(0.05)
        assert await answered(url) < 1
        await talks(caller)


async def send_sctp(caller, packet):
    """Send a packet, or a chunk in a packet of this association."""
    association = caller.peer.sctp
    if len(packet) < 12 or packet[:4] != struct.pack("!HH", 5000, 5000):
        tag = association._remote_verification_tag
        packet = sctp(packet, tag=tag)
    await association.transport._send_data(packet)


@pytest.mark.slow
async def test_a_live_peer_is_fuzzed_with_sctp(caplog):
    chunks = [packet[12:] for packet in GOOD]
    async with agent() as (url, _), call(url) as caller:
        for seed in range(300):
            await send_sctp(caller, packets.mutated(seed, chunks[seed % len(chunks)])[:1100])
            if seed % 50 == 0:
                await asyncio.sleep(0.01)
        assert await answered(url) < 1
    assert "Traceback" not in caplog.text


RTP = RtpPacket(payload_type=96, sequence_number=9, payload=b"\xfc\xff\xfe").serialize()
RTCP = [
    bytes(RtcpRrPacket(ssrc=1)),
    bytes(RtcpSdesPacket()),
    bytes(RtcpByePacket(sources=[1])),
    bytes(RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=2, lost=[1, 2, 9])),
    struct.pack("!BBHLL", 0x8F, 206, 4, 1, 2) + b"REMB\x05\0\0\0",
    struct.pack("!BBHLL", 0x81, 206, 2, 1, 2),
]


@pytest.mark.slow
async def test_a_live_peer_is_fuzzed_with_rtp_and_rtcp(caplog):
    async with agent() as (url, _), call(url) as caller:
        dtls = caller.peer.sctp.transport
        for seed in range(400):
            packet = packets.mutated(seed, RTP if seed % 2 else RTCP[seed // 2 % len(RTCP)])
            if len(packet) >= 12:
                try:
                    await dtls._send_rtp(bytes([0x80 | packet[0] & 0x3F]) + packet[1:])
                except Exception:  # libsrtp refuses to protect some of them
                    continue
            if seed % 100 == 0:
                await asyncio.sleep(0.01)
        await talks(caller)
        assert await answered(url) < 1
    assert "Traceback" not in caplog.text


async def server_receivers(caller):
    """The server's receivers, which run on the loop of this test, too."""
    own = {each.receiver for each in caller.peer.getTransceivers()}
    return [each for each in gc.get_objects() if type(each) is RTCRtpReceiver and each not in own]


def streams_of(receiver):
    return receiver._RTCRtpReceiver__remote_streams


@pytest.mark.slow
@pytest.mark.parametrize("hostile", ["ssrcs", "times"])
async def test_rtp_of_which_no_report_can_be_written_leaves_a_connection_that_closes(
    hostile, monkeypatch
):
    """300 SSRCs, or times that leap to and fro, ended the reports; closing waited for them."""
    soon = SimpleNamespace(random=lambda: -0.49)  # a report every 10 ms
    monkeypatch.setattr("aiortc.rtcrtpreceiver.random", soon)
    async with agent() as (url, _):
        async with call(url) as caller:
            dtls = caller.peer.sctp.transport
            sent = {"payload_type": 96, "payload": b"\xfc\xff\xfe"}
            for n in range(400):
                ssrc, at = (n, 960 * n) if hostile == "ssrcs" else (7, n % 2 * 0xFFFFFFFF)
                packet = RtpPacket(sequence_number=n, timestamp=at, ssrc=1000 + ssrc, **sent)
                await dtls._send_rtp(packet.serialize())
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.1)
            receivers = await server_receivers(caller)
            assert any(1000 + ssrc in streams_of(each) for each in receivers)
            assert all(len(streams_of(each)) <= MAX_SSRCS for each in receivers)
            await talks(caller)
        async with asyncio.timeout(4):  # the place was freed after 5 s, the connection never
            await until_free(url)
        assert not [task for task in asyncio.all_tasks() if "close()" in repr(task.get_coro())]


@pytest.mark.slow
async def test_a_stranger_fuzzes_the_socket_with_stun_and_dtls(caplog):
    """Anybody who finds the port may send to it; the call goes on, and the log stays quiet."""
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = "a:b"
    request.attributes["PRIORITY"] = 5
    request.add_message_integrity(b"x" * 22)
    hello = bytes([22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40]) + random.Random(1).randbytes(40)
    async with agent() as (url, _), call(url) as caller:
        ice = caller.peer.sctp.transport.transport._connection
        address = ice._nominated[1].remote_addr
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"", address)
            for seed in range(400):
                packet = packets.mutated(seed, hello if seed % 2 else bytes(request))
                stranger.sendto(packet, address)
                if seed % 50 == 0:
                    await asyncio.sleep(0.01)
        await talks(caller)
        assert await answered(url) < 1
    assert "Traceback" not in caplog.text


@pytest.mark.slow
async def test_a_peer_cannot_have_packets_sent_again_without_end():
    class Sender:
        sent = 0

        async def _retransmit(self, sequence):
            self.sent += 1

    guard_resending(sender := Sender())
    for sequence in range(5000):
        await sender._retransmit(sequence)
    assert RESENT_PER_SECOND <= sender.sent < 2 * RESENT_PER_SECOND
