"""A telephone call as a ``Transport``: the session need not know that it is one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

import numpy as np

from agent.audio.samples import Samples
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
    Complaint,
    DialectError,
    Dtmf,
    Held,
    MarkReached,
    PeerEvent,
    Resumed,
    Sound,
    Started,
    Stopped,
    Wire,
)
from agent.telephony.media.connection import Line
from agent.telephony.media.dtmf import Keys
from agent.telephony.media.gap_filler import Continuity
from agent.telephony.media.handshake import Opened
from agent.telephony.media.outbound import Outbound
from agent.telephony.media.pacer import FRAME_SECONDS, Mark
from agent.telephony.media.recorder import StereoTrack
from agent.transports.base import Disconnected

log = logging.getLogger("onebreath.telephony")

MAX_UNREAD = 256
"""Messages of the peer that may wait for the session: five seconds of sound."""
SILENT_SECONDS = 10.0
"""A peer whose sound should come without a pause is dead after this."""
PROTOCOL_ERROR = 1002


class TelephoneTransport:
    """One call whose peer has named it.

    ``serve`` moves the sound and must run beside the session's runner.

    Args:
        lead: seconds of sound that the peer may hold.
        instructions: what the session is told first; None leaves it as it is.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        line: Line,
        opened: Opened,
        lead: float,
        instructions: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate = opened.started.rate
        can = opened.dialect.capabilities
        self._line = line
        self._dialect = opened.dialect
        self._clock = clock
        self._out = Outbound(self.rate, can, lead)
        self._continuity = Continuity(self.rate)
        self._keys = Keys()
        self._inbox: asyncio.Queue[ClientMessage | None] = asyncio.Queue(MAX_UNREAD)
        if instructions is not None:
            self._inbox.put_nowait(Configure(instructions=instructions))
        self._queued = asyncio.Event()
        self._sending = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._keys_timer: asyncio.TimerHandle | None = None
        self._heard_at = clock()
        self._replying = False
        self.over = False
        """The peer is gone."""
        self.deaf = False
        """What the caller says meanwhile is not for the session."""

    # ---- the session's side --------------------------------------------------------

    async def receive(self) -> AsyncIterator[ClientMessage | Trouble]:
        while (message := await self._inbox.get()) is not None:
            yield message

    async def send(self, notice: Notice) -> None:
        match notice:
            case Play():
                self.play(notice.samples, notice.rate, notice.item_id)
            case StopPlaying():
                await self._stop()
            case SpeechStarted() if self._out.pacer.outstanding(self._clock()):
                # The session thinks that all was heard, or it was never the session's.
                await self._stop()
            case ReplyStarted():
                self._replying = True
            case ReplyFinished():
                self._replying = False
            case Trouble():
                log.info("%s", notice.code)
            case _:
                pass  # for clients with a screen

    def play(self, samples: Samples, rate: int, item_id: str | None = None) -> None:
        """Queue sound for the caller's ear; of the reply ``item_id``, if it is one."""
        self._out.play(samples, rate, item_id)
        self._queued.set()

    def record(self, track: StereoTrack) -> None:
        """Put everything that is heard from now on into ``track``."""
        self._out.track = track

    @property
    def generation(self) -> int:
        """Counts the times that queued sound was dropped."""
        return self._out.pacer.generation

    async def all_heard(self) -> None:
        """Return when the caller has heard what is queued, or the peer is gone."""
        pacer = self._out.pacer
        # Marks come with the peer's messages; nothing else tells of them.
        while not self.over and pacer.outstanding(self._clock()):  # noqa: ASYNC110
            await asyncio.sleep(max(FRAME_SECONDS, pacer.ahead(self._clock())))

    async def _stop(self) -> None:
        """Barge-in: drop what is queued, clear the peer, tell the session what was heard."""
        truncate = self._out.stop(self._clock())
        await self._send(self._dialect.clear())
        if truncate is not None:
            self._tell(truncate)

    async def close(self, code: int, reason: str) -> None:
        with contextlib.suppress(Disconnected):  # it is what was wanted
            await self._send(self._dialect.hang_up())
        await self._line.close(code, reason)

    async def transfer(self, destination: str) -> None:
        """Hand the call to another party.

        Raises:
            Unsupported: the peer's socket cannot.
            Disconnected: the peer is gone.
        """
        await self._send(self._dialect.transfer(destination))

    # ---- the peer's side -----------------------------------------------------------

    async def serve(self) -> None:
        """Move sound both ways until the peer is gone or this is cancelled."""
        moving = [self._listen(), self._pump()]
        if self._dialect.capabilities.steady:
            moving.append(self._silence())
        ways = [asyncio.create_task(way) for way in moving]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
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

    def _end_receiving(self) -> None:
        self.over = True
        if self._inbox.full():
            self._inbox.get_nowait()
        self._inbox.put_nowait(None)

    async def _listen(self) -> None:
        try:
            while True:
                message = await self._line.receive()
                self._heard_at = self._clock()
                for event in self._dialect.read(message):
                    if isinstance(event, Stopped):
                        log.info("%s", event.reason)
                        return
                    await self._take(event)
        except Disconnected:
            log.info("the peer is gone")
        except DialectError as error:
            log.warning("hanging up: %s", error)
            await self._line.close(PROTOCOL_ERROR, str(error))

    async def _silence(self) -> None:
        """Return when nothing came for too long: one timer for many messages."""
        while (left := self._heard_at + SILENT_SECONDS - self._clock()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        log.warning("nothing came for %.0f s: the peer is dead", SILENT_SECONDS)

    async def _take(self, event: PeerEvent) -> None:
        now = self._clock()
        match event:
            case Sound() | Dtmf() if self.deaf:
                pass
            case Sound():
                await self._hear(self._whole(event))
            case MarkReached():
                self._out.pacer.reached(event.name, now)
            case Dtmf():
                self._say(self._keys.press(event.digit, now))
                self._await_keys()
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
                pass  # the listener ended

    async def _hear(self, samples: Samples) -> None:
        if not len(samples):
            return  # an empty message would wait for the session for ever
        if self._out.track is not None:
            self._out.track.caller(samples, self._clock())
        await self._inbox.put(AppendedAudio(samples))

    def _whole(self, sound: Sound) -> Samples:
        missing = self._continuity.lost(sound.at, len(sound.samples))
        if not missing:
            return sound.samples
        return np.concatenate([np.zeros(missing, np.float32), sound.samples])

    def _await_keys(self) -> None:
        at = self._keys.complete_at
        if self._keys_timer is not None:
            self._keys_timer.cancel()
        if at is not None:
            wait = max(0.0, at - self._clock())
            self._keys_timer = self._loop.call_later(wait, self._keys_due)

    def _keys_due(self) -> None:
        self._say(self._keys.due(self._clock()))

    def _say(self, pressed: str | None) -> None:
        """Keys are answered as speech is, and interrupt as speech does."""
        if pressed is not None:
            if self._replying:
                self._tell(CancelReply())
            self._tell(TextTyped(pressed))
            self._tell(RespondNow())

    def _tell(self, message: ClientMessage) -> None:
        try:
            self._inbox.put_nowait(message)
        except asyncio.QueueFull:
            log.warning("the session is five seconds behind; %s is dropped", type(message).__name__)

    async def _pump(self) -> None:
        """Send each frame when it is due."""
        while True:
            self._queued.clear()
            async with self._sending:
                # One by one: a clear must not find frames that were taken out already.
                while (piece := self._out.next(self._clock())) is not None:
                    for message in self._wire(piece):
                        await self._line.send(message)
            await self._wait()

    def _wire(self, piece: Samples | Mark) -> list[Wire]:
        if isinstance(piece, Mark):
            return self._dialect.mark(piece.name)
        return self._dialect.sound(piece)

    async def _wait(self) -> None:
        """Until sound is queued, or something is due."""
        now = self._clock()
        due = self._out.pacer.next_due(now)
        # A timer, not a timeout, which would throw an exception for every frame.
        timer = None if due is None else self._loop.call_later(due - now, self._queued.set)
        try:
            await self._queued.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _send(self, messages: list[Wire]) -> None:
        async with self._sending:
            for message in messages:
                await self._line.send(message)
