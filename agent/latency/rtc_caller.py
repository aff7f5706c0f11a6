"""A WebRTC caller without a browser that sends and receives samples, for tests and figures."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from aiortc import RTCDataChannel, RTCSessionDescription
from aiortc.rtp import RtpPacket

from agent.audio.samples import Samples
from agent.errors import CallError
from agent.transports.rtc_peer import listen_on, lose_packets, new_peer
from agent.transports.rtc_track import BufferChange, SpeechTrack
from agent.transports.rtp_receiver import RtpReceiver
from agent.transports.voice_rate import VoiceCoding

CODING = VoiceCoding(64_000)
"""Of the caller's voice."""
BROWSER_CODING = VoiceCoding(32_000, 5)
"""Of the caller's voice in Chromium."""
CONNECT_SECONDS = 10.0
"""Time limit for signalling, and for the connection, in seconds."""

Hear = Callable[[Samples, float], None]


class MediaRelay(Protocol):
    """A relay through which the media of a call go, while its signalling does not."""

    def offer(self, sdp: str) -> str:
        """The offer as the server is to read it."""

    def answer(self, sdp: str) -> str:
        """The answer as the caller is to read it."""


class RtcCaller:
    """One WebRTC call.

    Args:
        url: address of the server, ``http://host:port``.
        hosts: local addresses to offer as ICE candidates; empty: all but loopback.
        hear: called with each piece of received audio, float32 mono at 48 kHz, and the monotonic
            second at which it arrived.
        query: of the offer's address.
        relay: relay between the caller and the server; None: they talk directly.
        coding: of the caller's voice.

    Attributes:
        created: the first event of the server.
    """

    def __init__(
        self,
        url: str,
        hosts: Sequence[str] = (),
        hear: Hear | None = None,
        query: str = "?onebreath=1",
        relay: MediaRelay | None = None,
        coding: VoiceCoding = CODING,
    ) -> None:
        self._url = url
        self._relay = relay
        self._query = query
        self.created: dict[str, Any] = {}
        self._hosts = hosts
        self._hear = hear
        self._ear = RtpReceiver(self._heard)
        self._opened = asyncio.Event()
        self._closed = asyncio.Event()
        self.microphone = SpeechTrack(CODING.bitrate, self._mouth_changed)
        self.microphone.code(coding)
        self.peer = new_peer(self.microphone, self._take_packet, ())
        self.channel: RTCDataChannel = self.peer.createDataChannel("oai-events")
        self.channel.on("open", self._opened.set)
        self.channel.on("close", self._closed.set)
        self.channel.on("message", self._take_message)
        self.peer.on("connectionstatechange", self._state_changed)
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.call_id = ""
        self.on_speech: Callable[[], None] = lambda: None
        """Called when the first audio of an utterance is sent."""
        self._lost: Callable[[], bool] = lambda: False

    async def connect(self, session: dict[str, Any] | None = None) -> None:
        """Connect and wait for the first event of the server.

        Args:
            session: session settings that go with the offer.

        Raises:
            CallError: the server refuses the call, or the connection fails.
        """
        relay, offer = self._relay, await self.offer()
        offer = offer if relay is None else relay.offer(offer)
        answer = await self.signal(offer, session)
        self.call_id = answer["call_id"]
        sdp = answer["sdp"] if relay is None else relay.answer(answer["sdp"])
        await self.peer.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._opened.wait()
                self.created = (await self.until("session.created"))[-1]
        except TimeoutError:
            raise CallError(f"{self._url}: no connection in {CONNECT_SECONDS:.0f} s") from None

    async def offer(self) -> str:
        """Create the SDP offer of this peer, with all its ICE candidates."""
        listen_on(self.peer, self._hosts)
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return str(self.peer.localDescription.sdp)

    async def signal(self, sdp: str, session: dict[str, Any] | None) -> dict[str, Any]:
        """Post an offer with session settings; the server's answer."""
        return await asyncio.to_thread(self._post, sdp, session)

    def _post(self, sdp: str, session: dict[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._url}/v1/realtime/calls{self._query}",
            json.dumps({"sdp": sdp, "session": session}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            raise CallError(f"{self._url}: {json.load(error)['error']['message']}") from None
        except (urllib.error.URLError, OSError) as error:
            raise CallError(f"{self._url}: nobody answers there ({error})") from None

    def say(self, samples: Samples) -> None:
        """Queue audio for the microphone; float32 mono at 48 kHz."""
        self.microphone.begin("")
        self.microphone.play(samples)

    def send(self, kind: str, **body: Any) -> None:
        """Send an event of type ``kind`` over the data channel."""
        self.channel.send(json.dumps({"type": kind, **body}))

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Wait for an event of type ``kind``; return the events up to and including it."""
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["type"] != kind:
            seen.append(await self.events.get())
        return seen

    def lose(self, lost: Callable[[], bool]) -> None:
        """Drop the media packets, in both directions, for which ``lost()`` is true."""
        lose_packets(self.peer, lost)
        self._lost = lost

    @property
    def concealed(self) -> int:
        """Samples of the received audio that were made up in place of lost ones."""
        return self._ear.concealed

    async def hung_up(self) -> None:
        """Wait until the server ends the call."""
        await self._closed.wait()

    async def close(self) -> None:
        """Hang up."""
        await self.peer.close()

    def _mouth_changed(self, change: BufferChange, response_id: str) -> None:
        if change == "started":
            self.on_speech()

    def _state_changed(self) -> None:
        if self.peer.connectionState in ("failed", "closed"):
            self._closed.set()

    def _take_message(self, message: str) -> None:
        self.events.put_nowait(json.loads(message))

    def _take_packet(self, packet: RtpPacket) -> None:
        if self._lost():
            return
        self._ear.take(packet)

    def _heard(self, samples: Samples) -> None:
        if self._hear is not None:
            self._hear(samples, time.monotonic())
