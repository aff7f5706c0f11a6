"""The telephone of the bench, and what is made of what it hears."""

import select
import socket
import sys
import time

import pytest
from support.telephony_server import server

from agent.bench.telephony import _added, _call_figures, _held_back
from agent.bench.telephony_callers import ReceivedReply, TelephoneCaller
from agent.errors import CallError
from agent.latency.kernel_timestamps import TimestampedSocket
from agent.latency.telephony import RATE


@pytest.mark.slow
async def test_the_telephone_hears_every_sample_of_a_reply():
    async with server(require_token=False) as (address, _):
        host, port = address.split(":")
        (reply,) = await TelephoneCaller(host, int(port)).press("AB#", rounds=1, seconds=1.2)
    assert reply.samples == 5 * 0.12 * RATE  # "You said: pressed A B"
    assert len(list(reply.gaps(0.2))) == len(list(reply.gaps(0.2, read=True))) == 30 - 10 - 1 - 1
    assert all(came <= read for came, read in zip(reply.arrived, reply.read, strict=True))


async def test_a_server_that_is_not_there_is_an_error():
    with pytest.raises(CallError, match="nobody answers"):
        await TelephoneCaller("127.0.0.1", 1).press("1", 1, 1.0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when bytes arrived")
def _until_stamped(sock, peer):
    """Wait until the kernel stamps arrivals: it begins a little after a socket asks for that."""
    for _ in range(1000):
        peer.sendall(b"x")
        select.select([sock], [], [], 5)
        read_from = time.time()
        sock.recv(100)
        if sock.arrived_at <= read_from:
            return


def test_a_late_reader_still_knows_when_bytes_arrived():
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = TimestampedSocket.connected(*server.getsockname())
        with sock, server.accept()[0] as peer:
            _until_stamped(sock, peer)
            peer.sendall(b"early")
            select.select([sock], [], [], 5)
            read_from = time.time()
            while time.time() < read_from + 0.02:
                pass  # a reader that is busy
            assert sock.recv(100) == b"early"
            assert sock.arrived_at <= read_from
            assert sock.arrived_at == pytest.approx(read_from, abs=1.0)


async def test_the_bridge_alone_adds_little():
    inward, outward = await _added(3)
    assert len(inward) == len(outward) == 3
    assert min(inward + outward) > 0


def test_what_a_resampler_keeps():
    assert _held_back(16_000, 16_000, 0.02) == 0
    assert 0 < _held_back(8000, 16_000, 0.02) < 3


def test_lost_sound_is_counted():
    times = [0.02 * frame for frame in range(100)]
    heard = ReceivedReply(times, [2 * at for at in times], 2 * RATE)
    gap, read, lost = _call_figures(1, [heard])
    assert (gap.value, gap.met) == (20.0, True)
    assert (read.value, read.met) == (40.0, None)
    assert (lost.value, lost.met) == (2200.0, False)
    with pytest.raises(CallError, match="busy"):
        _call_figures(1, [ReceivedReply()])
