"""A telephony call as a ``Transport``, so that the session treats it as any other call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

import numpy as np

from agent.audio.samples import Samples
from agent.close_codes import PROTOCOL_ERROR
from agent.protocol import AppendedAudio, ClientMessage
from agent.session.events import CancelReply, Configure, RespondNow, TextTyped
from agent.session.notices import (
    Notice,
    Play,
    ReplyFinished,
    ReplyStarted,
    SpeechStarted,
    StopPlaying,
    Trouble,
)
from agent.telephony.dialects.base import (
    AudioReceived,
    Complaint,
    DialectError,
    Dtmf,
    Held,
    MarkReached,
    PeerEvent,
    Resumed,
    Started,
    Stopped,
    WireMessage,
)
from agent.telephony.media.connection import HungUp, MediaConnection
from agent.telephony.media.dtmf import DtmfCollector
from agent.telephony.media.gap_filler import GapFiller
from agent.telephony.media.handshake import Handshake
from agent.telephony.media.outbound import Outbound
from agent.telephony.media.pacer import FRAME_SECONDS, Mark
from agent.telephony.media.recorder import StereoTrack
from agent.telephony.media.tones import key_tones
from agent.transports.base import Disconnected, RuleBroken

log = logging.getLogger("onebreath.telephony")

MAX_UNREAD = 256
"""Messages of the peer that may wait for the session: five seconds of audio."""
LAST_WORDS_SECONDS = 1.0
"""Seconds after a send that failed within which what was received may tell how the peer went."""
SILENT_SECONDS = 10.0
"""Seconds without a message after which a peer that streams without pauses counts as dead."""


class TelephonyTransport:
    """The transport of one call whose handshake is complete.

    ``serve`` moves the audio and must run beside the session's runner.

    Args:
        lead: seconds of audio that the peer may hold ahead of the caller's ear.
        instructions: the session's instructions; None leaves those of the settings.
        clock: monotonic seconds.
        connect_to: notes the party to which the provider is to connect the caller after this call;
            None where it cannot be told.

    Attributes:
        rate: samples per second, both ways.
        over: whether the peer is gone.
        deaf: whether the caller's audio and keys are dropped for now.
        transfers: whether the caller can be transferred.
    """

    def __init__(
        self,
        connection: MediaConnection,
        handshake: Handshake,
        lead: float,
        instructions: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        connect_to: Callable[[str], None] | None = None,
    ) -> None:
        self._connect_to = connect_to
        self.transfers = connect_to is not None
        self.rate = handshake.started.rate
        can = handshake.dialect.capabilities
        self._connection = connection
        self._dialect = handshake.dialect
        self._clock = clock
        self._out = Outbound(self.rate, can, lead)
        self._continuity = GapFiller(self.rate)
        self._keys = DtmfCollector()
        self._inbox: asyncio.Queue[ClientMessage | None] = asyncio.Queue(MAX_UNREAD)
        if instructions is not None:
            self._inbox.put_nowait(Configure(instructions=instructions))
        self._queued = asyncio.Event()
        self._sending = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._keys_timer: asyncio.TimerHandle | None = None
        self._last_message_at = clock()
        self._replying = False
        self._keying = False
        """Whether tones of keys are being played, which no voice of the other side cuts."""
        self.over = False
        self.deaf = False
        self._fault: Disconnected | RuleBroken | None = None
        """How the call ended, unless the peer hung up."""

    # ---- the session's side --------------------------------------------------------

    async def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        while (message := await self._inbox.get()) is not None:
            yield message
        if self._fault is not None:
            raise self._fault

    async def send(self, notice: Notice) -> None:
        match notice:
            case Play():
                self.play(notice.samples, notice.rate, notice.item_id)
            case StopPlaying():
                await self._stop()
            case SpeechStarted() if self._keying:
                pass
            case SpeechStarted() if self._out.pacer.outstanding(self._clock()):
                # The session counts this audio as played, or it was an announcement.
                await self._stop()
            case ReplyStarted():
                self._replying = True
            case ReplyFinished():
                self._replying = False
            case Trouble():
                log.info("%s", notice.code)
            case _:
                pass  # notices for clients with a screen

    def play(self, samples: Samples, rate: int, item_id: str | None = None) -> None:
        """Queue audio for the caller.

        Args:
            rate: samples per second of ``samples``.
            item_id: the reply that the audio belongs to; None for an announcement.
        """
        self._out.play(samples, rate, item_id)
        self._queued.set()

    def record(self, track: StereoTrack) -> None:
        """Record both sides of the call into ``track`` from now on."""
        self._out.track = track

    @property
    def generation(self) -> int:
        """Number of times that queued audio was dropped."""
        return self._out.pacer.generation

    async def all_played(self) -> None:
        """Wait until all queued audio has been played to the caller, or the peer is gone."""
        pacer = self._out.pacer
        # Marks come with the peer's messages and set no event.
        while not self.over and pacer.outstanding(self._clock()):  # noqa: ASYNC110
            await asyncio.sleep(max(FRAME_SECONDS, pacer.ahead(self._clock())))

    async def _stop(self) -> None:
        """Barge-in: drop the queue, clear the peer's buffer, report how much was played."""
        truncate = self._out.stop(self._clock())
        await self._send(self._dialect.clear())
        if truncate is not None:
            self._put(truncate)

    async def close(self, code: int, reason: str) -> None:
        with contextlib.suppress(Disconnected):  # then the call is over already
            await self._send(self._dialect.hang_up())
        await self._connection.close(code, reason)

    async def transfer(self, destination: str) -> None:
        """Let the provider connect the caller to another party once this call has ended."""
        assert self._connect_to is not None
        self._connect_to(destination)

    async def send_dtmf(self, digits: str) -> None:
        """Play the tones of keys, and wait until they were played or the peer is gone."""
        self._keying = True
        try:
            self.play(key_tones(digits, self.rate), self.rate)
            await self.all_played()
        finally:
            self._keying = False

    # ---- the peer's side -----------------------------------------------------------

    async def serve(self) -> None:
        """Move audio both ways until the peer is gone or the task is cancelled."""
        moving = [self._listen(), self._pump()]
        if self._dialect.capabilities.steady:
            moving.append(self._watch_silence())
        ways = [asyncio.create_task(way) for way in moving]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await self._read_the_end(ways[0])
        finally:
            for way in ways:
                way.cancel()
            results = await asyncio.gather(*ways, return_exceptions=True)
            self._end_receiving()
            if self._keys_timer is not None:
                self._keys_timer.cancel()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, Disconnected):
                raise result

    async def _read_the_end(self, listening: asyncio.Task[None]) -> None:
        """Let a peer to which nothing can be sent tell whether it hung up."""
        if self._fault is None and not listening.done():
            await asyncio.wait([listening], timeout=LAST_WORDS_SECONDS)
            if not listening.done():
                self._fault = Disconnected("nothing can be sent any more")

    def _end_receiving(self) -> None:
        self.over = True
        if self._inbox.full():
            self._inbox.get_nowait()
        self._inbox.put_nowait(None)

    async def _listen(self) -> None:
        try:
            while True:
                message = await self._connection.receive()
                self._last_message_at = self._clock()
                for event in self._dialect.read(message):
                    if isinstance(event, Stopped):
                        return
                    await self._handle(event)
        except HungUp:
            return
        except Disconnected as gone:
            self._fault = gone
        except DialectError as error:
            self._fault = RuleBroken(PROTOCOL_ERROR, str(error))

    async def _watch_silence(self) -> None:
        """Return after ``SILENT_SECONDS`` without a message; one timer serves many messages."""
        while (left := self._last_message_at + SILENT_SECONDS - self._clock()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        self._fault = Disconnected(f"no message for {SILENT_SECONDS:.0f} s: the peer is dead")

    async def _handle(self, event: PeerEvent) -> None:
        now = self._clock()
        match event:
            case AudioReceived() | Dtmf() if self.deaf:
                pass
            case AudioReceived():
                await self._take_audio(self._without_gaps(event))
            case MarkReached():
                self._out.pacer.reached(event.name, now)
            case Dtmf():
                self._enter_keys(self._keys.press(event.digit, now))
                self._set_keys_timer()
            case Held():
                self._out.pacer.hold(now)
            case Resumed():
                self._out.pacer.resume()
                self._queued.set()
            case Complaint():
                log.warning("the peer complains: %.200s", event.message)
            case Started():
                raise DialectError("the call was started twice")
            case Stopped():
                pass  # ``_listen`` returns at it

    async def _take_audio(self, samples: Samples) -> None:
        if not len(samples):
            return  # an empty message would wait for the session for ever
        if self._out.track is not None:
            self._out.track.caller(samples, self._clock())
        await self._inbox.put(AppendedAudio(samples))

    def _without_gaps(self, sound: AudioReceived) -> Samples:
        missing = self._continuity.lost(sound.at, len(sound.samples))
        if not missing:
            return sound.samples
        return np.concatenate([np.zeros(missing, np.float32), sound.samples])

    def _set_keys_timer(self) -> None:
        at = self._keys.complete_at
        if self._keys_timer is not None:
            self._keys_timer.cancel()
        if at is not None:
            wait = max(0.0, at - self._clock())
            self._keys_timer = self._loop.call_later(wait, self._keys_due)

    def _keys_due(self) -> None:
        self._enter_keys(self._keys.due(self._clock()))

    def _enter_keys(self, pressed: str | None) -> None:
        """Give a completed key entry to the session as typed text; it interrupts a reply."""
        if pressed is not None:
            if self._replying:
                self._put(CancelReply())
            self._put(TextTyped(pressed))
            self._put(RespondNow())

    def _put(self, message: ClientMessage) -> None:
        try:
            self._inbox.put_nowait(message)
        except asyncio.QueueFull:
            log.warning("the session is five seconds behind; %s is dropped", type(message).__name__)

    async def _pump(self) -> None:
        """Send each frame and mark when it is due."""
        while True:
            self._queued.clear()
            async with self._sending:
                # One at a time: no frame may leave the queue before a clear and be sent after it.
                while (piece := self._out.next(self._clock())) is not None:
                    for message in self._wire(piece):
                        await self._connection.send(message)
            await self._wait()

    def _wire(self, piece: Samples | Mark) -> list[WireMessage]:
        if isinstance(piece, Mark):
            return self._dialect.mark(piece.name)
        return self._dialect.sound(piece)

    async def _wait(self) -> None:
        """Wait until audio is queued, or a frame or mark is due."""
        now = self._clock()
        due = self._out.pacer.next_due(now)
        # A timer: a timeout would raise an exception for every frame.
        timer = None if due is None else self._loop.call_later(due - now, self._queued.set)
        try:
            await self._queued.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _send(self, messages: list[WireMessage]) -> None:
        async with self._sending:
            for message in messages:
                await self._connection.send(message)
