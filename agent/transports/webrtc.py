"""The Realtime protocol over WebRTC: audio on media tracks, events on a data channel."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime

from aiortc import InvalidStateError, RTCDataChannel

from agent.audio.samples import Samples, StreamResampler
from agent.close_codes import NORMAL_CLOSURE, POLICY_VIOLATION
from agent.config.settings import WebRtcSettings
from agent.protocol import (
    AppendedAudio,
    ClientMessage,
    EventWriter,
    Identified,
    Pinged,
    Reading,
)
from agent.session.events import Truncate
from agent.session.notices import Notice, Play, ReplyFinished, StopPlaying, Trouble
from agent.transports import rtc_guard, rtc_peer
from agent.transports.base import Disconnected, RuleBroken, WayBack
from agent.transports.event_outbox import EventOutbox
from agent.transports.ice_fragment import IceFragment
from agent.transports.observers import Observers
from agent.transports.opus import RATE
from agent.transports.pace import TOO_FAST, Pace, Paces
from agent.transports.reading import EventReader, begins_turn, read_beside
from agent.transports.rtc_track import BufferChange, SpeechTrack
from agent.transports.rtp_receiver import RtpReceiver
from agent.transports.voice_rate import VoiceRate

log = logging.getLogger("onebreath.webrtc")

CHANNEL = "oai-events"
MAX_EVENT = 65_536
"""Characters of one event on the data channel, at most."""
MAX_UNREAD = 1024
"""Events and packets that may wait for the runner; a packet is 20 ms."""
MAX_UNSENT_BYTES = 262_144
"""Bytes that may wait in the data channel before ``send`` waits."""
MAX_CHANNELS = 4
TICK_SECONDS = 0.02
TICKS_BETWEEN_REPORTS = 25
"""Ticks after which the client's report of losses is read again; one comes about every second."""
PLAYOUT_SECONDS = 0.08
"""Seconds from sending audio to its playout: half a round trip, the client's jitter buffer
(33-66 ms in Chromium on a good line), its sound card. A client that knows better reports
``conversation.item.truncate``."""
RESUMABLE_SILENCE = 1.0
"""Seconds of missing packets that silence stands for where the client can come back: more of it
would end a turn that goes on over the next connection."""
GOODBYE_SECONDS = 0.5
"""Seconds for telling the client why the call ends."""
NOT_HERE = Trouble(
    "invalid_value",
    "the sound of this call travels on its media track; "
    "input_audio_buffer.append is for the websocket",
    param="type",
)


class WebRtcTransport:
    """One peer connection that speaks docs/protocol.md.

    Args:
        first: messages that came with the client's offer.
        pace: how fast the client's events may come; None: as for a client of its own address.
        reading: the state of the session that the meaning of events depends on.

    Attributes:
        observers: of the events of the call.
        ice_username: the client's ICE user name in its offer.
    """

    rate = RATE

    def __init__(
        self,
        writer: EventWriter,
        settings: WebRtcSettings,
        first: Sequence[ClientMessage] = (),
        reading: Reading | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._pace = pace or Paces().of("")
        self._writer = writer
        self._settings = settings
        self.reader = EventReader(MAX_EVENT, reading)
        self._inbox: asyncio.Queue[ClientMessage | Trouble | None] = asyncio.Queue(MAX_UNREAD)
        for message in first:
            self._inbox.put_nowait(message)
        self._receiver = RtpReceiver(self._put_audio)
        self._playing: str | None = None
        """The reply whose audio is being sent."""
        self._resampler: StreamResampler | None = None
        self._channel: RTCDataChannel | None = None
        self._outbox = EventOutbox(time.monotonic())
        self._channels = 0
        self._truncated: str | None = None
        self.ice_username: str | None = None
        self._candidates = 0
        self._ready = asyncio.Event()
        self._roomy = asyncio.Event()
        self._gone = False
        self._refused = ""
        """The limit that the client broke, for which its call ends with the connection."""
        self._ticking: asyncio.Task[None] | None = None
        self.observers = Observers()
        self._returns = False
        """Whether the call outlives this connection, and its observers with it."""
        self._track = SpeechTrack(settings.bitrate, self._buffer_changed)
        self._rate = VoiceRate(settings.bitrate)
        self._reported: tuple[datetime, float] | None = None
        """The newest report of losses, and the seconds of sound that were sent by then."""
        self._peer = rtc_peer.new_peer(self._track, self._receiver.take, settings.ice_servers)
        self._peer.on("datachannel", self._take_channel)
        self._peer.on("connectionstatechange", self._state_changed)

    # ---- the life of the connection ------------------------------------------------

    async def answer(self, offer: str) -> str:
        """The SDP answer to ``offer``.

        Raises:
            BadOffer: the offer cannot be answered.
        """
        self.ice_username, self._candidates = rtc_peer.ice_of(offer)
        # Where no candidate can be reached (names of mDNS that nobody resolves, an address behind
        # NAT), the client's own checks tell its address: the end of its candidates is no reason to
        # give up before the bound on the time until the channel is open.
        offer = offer.replace("a=end-of-candidates\r\n", "")
        return await rtc_peer.answer(self._peer, offer, self._settings.ice_hosts)

    async def add_candidates(self, fragment: IceFragment) -> None:
        """Take candidates that the client sends after its offer.

        Raises:
            BadOffer: they are too many, or cannot be taken.
        """
        self._candidates += len(fragment.candidates)
        if self._candidates > rtc_peer.MAX_CANDIDATES:
            allowed = f"{rtc_peer.MAX_CANDIDATES} are allowed, those of the offer included"
            raise rtc_peer.BadOffer(f"the call has {self._candidates} candidates; {allowed}")
        await rtc_peer.add_candidates(self._peer, fragment)

    async def open(self, way_back: WayBack | None = None) -> None:
        """Wait until events can be exchanged, then send ``session.created``.

        Args:
            way_back: the client is told how to come back after a lost connection.

        Raises:
            Disconnected: the connection failed.
        """
        await self.connected()
        self._send_event(self._writer.created())
        if way_back is not None:
            self.expect_return()
            self._send_event(self._writer.resumable(*way_back))

    def expect_return(self) -> None:
        """Invent little silence: the client may come back over another connection."""
        self._returns = True
        self._receiver.limit_silence(RESUMABLE_SILENCE)

    async def connected(self) -> None:
        """Wait until events can be exchanged.

        Raises:
            Disconnected: the connection failed.
        """
        await self._ready.wait()
        if self._gone:
            raise Disconnected("the connection failed")
        self._ticking = asyncio.create_task(self._keep_time())

    def _state_changed(self) -> None:
        log.debug("connection %s", self._peer.connectionState)
        if self._peer.connectionState in ("failed", "closed"):
            self._lose()

    def _lose(self) -> None:
        """Mark the client as gone and wake all waiters."""
        self._gone = True
        if not self._returns:
            self.observers.end()
        self._ready.set()
        self._roomy.set()
        with contextlib.suppress(asyncio.QueueFull):  # then `receive` looks at `_gone`
            self._inbox.put_nowait(None)

    def _refuse(self, reason: str) -> None:
        """End the call of a client that breaks a limit."""
        self._refused = self._refused or reason
        self._lose()

    async def hang_up(self) -> None:
        """Close the connection without a word to the client; may be called twice."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._track.stop()
        await rtc_peer.close(self._peer)
        self._lose()

    async def close(self, code: int, reason: str) -> None:
        """Close the connection; unless the closure is normal, send the reason as ``call_ended``."""
        self._outbox.rush()
        with contextlib.suppress(Disconnected):
            self._flush()
        if code != NORMAL_CLOSURE:
            trouble = Trouble("call_ended", reason, kind="server_error")
            with contextlib.suppress(Disconnected, TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self.send(trouble)
                    await self._drained()
        await self.hang_up()

    # ---- from the client -----------------------------------------------------------

    async def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        while not self._gone or not self._inbox.empty():
            message = await self._inbox.get()
            if message is None:
                break
            yield message
            if self.reader.exhausted:
                raise RuleBroken(POLICY_VIOLATION, "too many events that could not be read")
        if self._refused:
            raise RuleBroken(POLICY_VIOLATION, self._refused)
        # Closing a peer connection looks like losing it; who means to hang up says so.
        raise Disconnected("the connection was lost")

    def _put(self, message: ClientMessage | Trouble) -> None:
        try:
            self._inbox.put_nowait(message)
        except asyncio.QueueFull:
            self._refuse(f"{MAX_UNREAD} messages and pieces of sound are unread")

    def _take_channel(self, channel: RTCDataChannel) -> None:
        self._channels += 1
        if channel.label != CHANNEL or self._channel is not None:
            log.info("refused a data channel %r", channel.label[:40])
            channel.close()
            if self._channels > MAX_CHANNELS:
                self._refuse(f"more than {MAX_CHANNELS} data channels")
            return
        self._channel = channel
        channel.on("message", self.take_message)
        channel.on("close", self._lose)
        channel.on("bufferedamountlow", self._roomy.set)
        self._ready.set()

    def take_message(self, message: str | bytes) -> None:
        """Take an event of the client, or of one that controls the call beside it."""
        for item in self.reader.read(message):
            if not self._pace.allow(len(message), begins_turn(item)):
                self._put(self.reader.refuse(TOO_FAST))
                continue
            match item:
                case Pinged():
                    with contextlib.suppress(Disconnected):
                        self._send_event(self._writer.pong(item, time.monotonic()))
                case AppendedAudio():
                    self._put(self.reader.refuse(NOT_HERE))
                case _:
                    asked = item.input if isinstance(item, Identified) else item
                    if isinstance(asked, Truncate):
                        self._truncated = asked.item_id
                    self._put(item)

    def beside(self, message: str | bytes) -> Iterator[ClientMessage | Trouble]:
        """Read an event of one that controls the call beside its client."""
        return read_beside(self.reader, self._pace, message)

    def _put_audio(self, samples: Samples) -> None:
        self._put(AppendedAudio(samples))

    async def _keep_time(self) -> None:
        for tick in itertools.count():
            if self._gone:
                return
            await asyncio.sleep(TICK_SECONDS)
            if tick % TICKS_BETWEEN_REPORTS == 0:
                await self._adapt()
            with contextlib.suppress(Disconnected):
                self._flush()
            if rtc_guard.overrun(self._peer):
                self._refuse("a message without an end")
            self._receiver.tick()

    async def _adapt(self) -> None:
        """Code the voice for the losses that the client reports, once for each report."""
        before = self._rate.coding
        if self._outbox.slow:
            self._rate.start_slowly()
        report = await rtc_peer.reported_loss(self._peer)
        if report is not None and (self._reported is None or report[0] != self._reported[0]):
            self._take_report(report)
        if self._rate.coding != before:
            log.info("the voice has %d bit/s from now on", self._rate.coding.bitrate)
            self._track.code(self._rate.coding)

    def _take_report(self, report: tuple[datetime, float]) -> None:
        sounded_before = 0.0 if self._reported is None else self._reported[1]
        sounded = self._track.sounded - sounded_before
        self._rate.report(report[1], sounded, self._outbox.slow)
        self._reported = report[0], self._track.sounded

    # ---- to the client -------------------------------------------------------------

    async def send(self, notice: Notice) -> None:
        match notice:
            case Play():
                self._play(notice)
                return
            case StopPlaying():
                self._stop_playing(notice)
            case ReplyFinished() if notice.response_id == self._playing:
                self._end_playing()
        for event in self._writer.write(notice):
            self._send_event(event)
        if self._channel is not None and self._unsent > MAX_UNSENT_BYTES:
            await self._drained()

    @property
    def _unsent(self) -> int:
        """Bytes of events that wait here or in the channel."""
        waiting = 0 if self._channel is None else self._channel.bufferedAmount
        return waiting + self._outbox.waiting

    @property
    def unplayed(self) -> float:
        """Seconds of queued audio."""
        return self._track.unsent

    def _play(self, notice: Play) -> None:
        if notice.response_id != self._playing:
            self._playing = notice.response_id
            self._track.begin(notice.response_id)
            self._resampler = StreamResampler(notice.rate, RATE)
        assert self._resampler is not None
        self._track.play(self._resampler.push(notice.samples))

    def _end_playing(self) -> None:
        if self._resampler is not None:
            self._track.play(self._resampler.flush())
        self._track.end()
        self._playing = self._resampler = None

    def _stop_playing(self, notice: StopPlaying) -> None:
        """Stop the reply; the track knows better than the session's clock how much was sent."""
        self._playing = self._resampler = None
        heard = max(0.0, self._track.flush() - PLAYOUT_SECONDS)
        if heard < notice.heard and notice.item_id != self._truncated:
            self._put(Truncate(notice.item_id, heard))

    def _buffer_changed(self, change: BufferChange, response_id: str) -> None:
        with contextlib.suppress(Disconnected):  # ``send`` raises it too
            self._send_event(self._writer.output_buffer(change, response_id))

    def greeting(self) -> dict[str, object]:
        """The event ``session.created`` with the session as it is now, for an observer."""
        return self._writer.created()

    def _send_event(self, event: dict[str, object]) -> None:
        self.observers.show(event)
        if self._gone or self._channel is None:
            raise Disconnected
        text = json.dumps(event, ensure_ascii=False)
        self._outbox.put(str(event["type"]), text)
        self._flush()

    def _flush(self) -> None:
        """Send the events whose turn it is.

        Raises:
            Disconnected: the channel is closed.
        """
        if self._channel is None:
            return
        unconfirmed, sounding = rtc_peer.unconfirmed(self._peer), self._track.unsent > 0
        try:
            for text in self._outbox.take(unconfirmed, sounding, time.monotonic()):
                self._channel.send(text)
        except InvalidStateError as error:
            raise Disconnected from error

    async def _drained(self) -> None:
        """Wait until all events are sent."""
        self._outbox.rush()
        self._flush()
        while self._channel is not None and self._channel.bufferedAmount and not self._gone:
            self._roomy.clear()
            await self._roomy.wait()
