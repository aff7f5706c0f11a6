"""WebRTC callers for tests: real aiortc peers, on loopback only."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection
from test_server import server

from agent.latency.rtc_caller import RtcCaller
from agent.transports import rtc_peer
from agent.transports.opus import RATE
from support.fakes import silence, speech

HERE = ["127.0.0.1"]
CALLS = "/v1/realtime/calls"


@asynccontextmanager
async def agent(*heard, **settings):
    async with server(*heard, webrtc={"ice_hosts": HERE}, **settings) as (address, engines):
        yield f"http://{address}", engines


class Ear:
    """What a caller hears, and when."""

    def __init__(self):
        self.pieces = []

    def __call__(self, samples, at):
        self.pieces.append((at, samples))

    def loudest(self, since, until=float("inf")):
        levels = [float(np.abs(s).max()) for at, s in self.pieces if since <= at < until]
        return max(levels, default=0.0)

    async def heard(self, seconds):
        """Wait until this much of the reply arrived."""
        while sum(np.abs(s).max() > 0.05 for _, s in self.pieces) < seconds / 0.02:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def call(url, ear=None):
    caller = RtcCaller(url, HERE, ear)
    try:
        await caller.connect()
        yield caller
    finally:
        await caller.close()


QUESTION = np.concatenate([silence(0.1, RATE), speech(0.5, RATE), silence(0.6, RATE)])


async def offer_of(prepare=None):
    """An SDP offer without anybody behind it."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    if prepare is None:
        peer.createDataChannel("oai-events")
        peer.addTransceiver("audio")
    else:
        prepare(peer)
    rtc_peer.listen_on(peer, HERE)
    await peer.setLocalDescription(await peer.createOffer())
    sdp = peer.localDescription.sdp
    await peer.close()
    return sdp


def post(web, offer):
    return web.post(CALLS, content=offer, headers={"Content-Type": "application/sdp"})


async def lines_in_use(url):
    async with httpx.AsyncClient() as web:
        return (await web.get(f"{url}/readyz")).json()["calls"]


async def until_free(url):
    while await lines_in_use(url):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
