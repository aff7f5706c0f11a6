"""The runner of a call: it connects transport, session, engines and timers."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from agent.audio.caller_level import CallerLevel
from agent.audio.echo import EchoDetector
from agent.close_codes import NORMAL_CLOSURE, POLICY_VIOLATION, RESUMED_ELSEWHERE
from agent.config.settings import Settings
from agent.errors import AudioError
from agent.protocol import AppendedAudio, ClientMessage, Identified, Pinged
from agent.responders.base import uses_tools
from agent.runtime.audio_input import CallerAudio
from agent.runtime.backlog import BacklogWatch
from agent.runtime.call_log import TurnLog
from agent.runtime.call_trace import current_trace
from agent.runtime.calls import (
    CLOSE_SECONDS,
    HUNG_UP,
    CallEnd,
    CallRegistry,
    Outcome,
)
from agent.runtime.connection_slot import CallOver, ConnectionSlot, NextConnection
from agent.runtime.engine_tasks import Engines, EngineTasks
from agent.runtime.logs import current_call
from agent.runtime.presence import Presence
from agent.runtime.tool_tasks import ToolTasks
from agent.runtime.unsent import MAX_UNSENT, Unsent
from agent.session.commands import Command, Decide, EngineTask, HangUp, ToolTask, WakeAt
from agent.session.connection import Connection
from agent.session.events import (
    CallEnding,
    CallStarted,
    Configure,
    ConnectionLost,
    ConnectionResumed,
    Decided,
    Input,
    Leave,
    SoundBacklog,
    Tick,
)
from agent.session.notices import (
    Configured,
    DecisionMade,
    Notice,
    Play,
    Remark,
    StopPlaying,
    TransferRequested,
    Trouble,
)
from agent.session.playback import Delivery
from agent.session.session import Session
from agent.tools.base import TelephoneLine
from agent.transports.base import Disconnected, Lagging, RuleBroken, Transport

log = logging.getLogger("onebreath.call")

TURN_SECONDS = 0.002
"""Seconds of work on a client's sound after which the event loop gets its turn."""
SEND_SECONDS = 10.0
"""Seconds that one send may take; a slower client counts as gone."""
LAST_WORDS_SECONDS = 1.0
"""Seconds after a send that failed within which what was received may tell how the client went."""
NOTHING_SENT = CallEnd(Outcome.DISCONNECTED, NORMAL_CLOSURE, "nothing can be sent any more")
SOUND_SECONDS = 5.0
"""Sound that a client sends in the first seconds of a connection does not prove that it was told
how to come back: over WebRTC a page sends some before it gives up a slow connection."""


class CallRunner:
    """Runs one call from its start to its end.

    Args:
        engines: the loaded engines that all calls share.
        settings: the server's settings.
        transport: the open line to the client.
        clock: monotonic seconds; the loop's own where none is given (uvloop's counts whole
            milliseconds, which is too coarse for the spans of a turn).
        delivery: the way of a reply's sound to the client.
        initial: settings that hold from the beginning; the client is not told of them.
        calls: the server's calls, which may ask this one to leave.
        slot: where another connection may take the place of a lost one; None: the call ends with
            its connection.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        transport: Transport,
        clock: Callable[[], float] | None = None,
        calls: CallRegistry | None = None,
        delivery: Delivery = Delivery.PACED,
        initial: Configure | None = None,
        slot: ConnectionSlot | None = None,
    ) -> None:
        self._calls = calls
        self._slot = slot
        patience = 0.0 if slot is None else slot.patience
        self._engines = engines
        self._transport = transport
        self._lagging = transport if isinstance(transport, Lagging) else None
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        tools = engines.tools.offered(transport) if uses_tools(engines.responder) else ()
        self._session = Session(settings, self._clock(), delivery, tools, Connection(patience))
        self._session.user_turn.has_head = getattr(engines.responder, "judges_turns", False)
        self._session.decisions.has_model = getattr(engines.responder, "decides", False)
        self._session.decisions.heads = frozenset(getattr(engines.responder, "heads", ()))
        self._end_seconds = settings.decisions.end_seconds
        self._decided = asyncio.Event()
        self._asks_at_end = any("end" in each.when for each in settings.decisions.asked)
        self._initial = initial
        echo = EchoDetector() if settings.turns.echo else None
        level = CallerLevel() if settings.turns.far_voices else None
        self._caller_audio = CallerAudio(
            engines.new_gate(), transport.rate, self._clock(), echo, level
        )
        self._unsent = Unsent()
        self._delivery = delivery
        self._backlog = BacklogWatch(self._waits, lambda full: self._handle(SoundBacklog(full)))
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_seconds = settings.server.idle_seconds
        self._presence = Presence(self._clock())
        self._connected = True
        self._connection_tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        self._ending = False
        self._asked_to_leave = False
        """Whether the server ends the call, and not the conversation."""
        self.call_id = current_call.get()
        self._turn_log = TurnLog(settings.log.words)
        self._trace = current_trace.get()
        self._end_of_call = HUNG_UP

    async def run(self) -> CallEnd:
        """Serve until the client hangs up or the session ends the call."""
        self._context = contextvars.copy_context()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._engine_tasks = EngineTasks(self._engines, self._group, self._handle)
                box = self._engines.tools
                self._tools = ToolTasks(box, self._transport, self._group, self._handle)
                try:
                    await self._serve(self._group)
                finally:
                    for timer in (self._timer, self._idle_timer):
                        if timer is not None:
                            timer.cancel()
                    self._backlog.stop()
                    self._engine_tasks.stop()
                    self._tools.stop()
        finally:
            await self._engine_tasks.release()
        return self._end_of_call

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        if self._initial is not None:
            self._configure(self._initial)
        self._handle(CallStarted())
        if self._calls is not None:
            self._calls.leavers.add(self.leave)
        self._watch_idleness()
        self._exchange()
        if self._slot is not None:
            self._slot.replace = self._reconnect
            self._slot.steer = self._take
        try:
            await self._over.wait()
            await self._decide_at_end()
        finally:
            if self._calls is not None:
                self._calls.leavers.discard(self.leave)
            self._stop_exchange()

    # ---- the connection ------------------------------------------------------------

    def _exchange(self) -> None:
        """Begin to receive and to send over the present connection."""
        self._connection_tasks = [
            self._group.create_task(work, context=self._context)
            for work in (self._receive(self._transport), self._send(self._transport))
        ]

    def _stop_exchange(self) -> None:
        for task in self._connection_tasks:
            task.cancel()

    def _lose(self, transport: Transport, end: CallEnd) -> None:
        """Wait for another connection in place of ``transport``, or end the call with ``end``."""
        if transport is not self._transport or not self._connected:
            return  # another has its place already
        if self._ending or self._over.is_set():
            self._over.set()  # how it ends is known already
            return
        if self._slot is None or not self._slot.patience:
            self._end_of_call = end
            self._over.set()
            return
        log.info("the connection is lost; the session waits %.0f s", self._slot.patience)
        self._connected = False
        self._stop_exchange()
        self._begin_unsent()  # the next one is told where things stand
        self._handle(ConnectionLost(self._presence.last_seen(self._clock())))
        self._release(transport)

    def _reconnect(self, another: NextConnection) -> None:
        """Go on over another connection; the old one is closed if it still lives.

        Raises:
            CallOver: the call is ending.
        """
        if self._ending or self._over.is_set():
            raise CallOver("the call is ending")
        old, now = self._transport, self._clock()
        seen = self._presence.last_seen(now)
        if self._connected:
            self._stop_exchange()
            self._release(old)
        self._transport, self._connected = another.transport, True
        self._lagging = another.transport if isinstance(another.transport, Lagging) else None
        self._begin_unsent()
        self._delivery = another.delivery
        self._presence = Presence(now)
        self._caller_audio.reconnected(another.transport.rate, now)
        resumed = ConnectionResumed(seen, another.delivery, another.played, another.token)
        self._handle(resumed)
        self._exchange()

    def _release(self, transport: Transport) -> None:
        """Close a connection, whatever becomes of the call meanwhile."""
        assert self._slot is not None
        self._slot.release(_closed(transport))

    async def _receive(self, transport: Transport) -> None:
        began = self._clock()
        try:
            async for message in transport.receive():
                self._presence.note(self._clock())
                sound = isinstance(message, AppendedAudio)
                if self._slot is not None and not (sound and self._clock() - began < SOUND_SECONDS):
                    self._slot.heard = True
                if isinstance(message, AppendedAudio):
                    await self._hear(message, transport.rate)
                else:
                    self._take(message)
                # Send first: a client that reads must not be taken for one that does not.
                while self._crowded and not self._over.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        except Disconnected as gone:
            reason = str(gone) or "the connection was lost"
            self._lose(transport, CallEnd(Outcome.DISCONNECTED, NORMAL_CLOSURE, reason))
            return
        except AudioError as error:
            self._hang_up(CallEnd(Outcome.ENDED, POLICY_VIOLATION, str(error)))
        except RuleBroken as broken:
            self._hang_up(CallEnd(Outcome.ENDED, broken.code, str(broken)))
        else:
            self._over.set()

    def _take(self, message: ClientMessage | Trouble) -> None:
        """Take a message that is no sound."""
        if isinstance(message, Trouble):
            self._notify(message)
        elif isinstance(message, Identified):
            self._handle(message.input, message.event_id)
        elif not isinstance(message, AppendedAudio | Pinged):
            self._handle(message)

    async def _hear(self, message: AppendedAudio, rate: int) -> None:
        """Take sound frame by frame; one message may hold half a minute, so others get turns."""
        began = time.thread_time()
        size = rate // 4
        for start in range(0, len(message.samples), size):
            piece = message.samples[start : start + size]
            for frame in self._caller_audio.push(piece, self._clock()):
                self._handle(frame)
                if time.thread_time() - began > TURN_SECONDS:
                    await asyncio.sleep(0)
                    began = time.thread_time()

    @property
    def _crowded(self) -> bool:
        return len(self._unsent) > MAX_UNSENT // 2

    def _watch_idleness(self) -> None:
        """Hang up on a client that is silent; one timer a call is cheaper than one a message.

        A client that is not there is waited for by the session.
        """
        since = self._presence.last_message_at if self._connected else self._clock()
        ends = since + self._idle_seconds
        if self._clock() < ends:
            wait = ends - self._clock()
            self._idle_timer = self._loop.call_later(wait, self._watch_idleness)
        else:
            reason = f"nothing was received for {self._idle_seconds:.0f} s"
            self._hang_up(CallEnd(Outcome.DISCONNECTED, NORMAL_CLOSURE, reason))

    async def _send(self, transport: Transport) -> None:
        unsent = self._unsent
        try:
            while True:
                notice = await unsent.get()
                async with asyncio.timeout(SEND_SECONDS):
                    await transport.send(notice)
                unsent.sent(notice)
                self._backlog.look()
        except Disconnected:
            # What was received last tells how the client went, by hanging up or not.
            await asyncio.wait(self._connection_tasks[:1], timeout=LAST_WORDS_SECONDS)
            self._lose(transport, NOTHING_SENT)
        except TimeoutError:
            self._lose(transport, NOTHING_SENT)

    def _hang_up(self, end: CallEnd) -> None:
        if self._ending:
            return
        self._ending = True
        if not self._connected:
            end = replace(end, outcome=Outcome.DISCONNECTED)
        elif self._asked_to_leave:
            end = replace(end, outcome=Outcome.ENDED)
        self._end_of_call = end
        self._group.create_task(self._end(end))

    async def _end(self, end: CallEnd) -> None:
        await self._decide_at_end()
        try:
            async with asyncio.timeout(1.0):
                await self._transport.close(end.code, end.reason)
        except TimeoutError:
            log.info("the client does not take the goodbye either")
        self._over.set()

    async def _decide_at_end(self) -> None:
        """Answer the questions about the whole call, once, and let the client hear of it."""
        if not self._asks_at_end:
            return
        self._asks_at_end = False
        self._handle(CallEnding())
        with suppress(TimeoutError):
            async with asyncio.timeout(self._end_seconds):
                while not self._session.decisions.idle:
                    self._decided.clear()
                    await self._decided.wait()
                while len(self._unsent) and not self._over.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

    # ---- the session ---------------------------------------------------------------

    def _configure(self, settings: Configure) -> None:
        for command in self._session.handle(settings, self._clock()):
            if not isinstance(command, Configured):
                self._execute(command)

    def _handle(self, event: Input, event_id: str | None = None) -> None:
        over = self._ending or self._over.is_set()
        if over and not isinstance(event, Decided | CallEnding):
            return
        for command in self._session.handle(event, self._clock()):
            if over and not isinstance(command, Decide | DecisionMade | Remark):
                continue
            if event_id is not None and isinstance(command, Trouble):
                command = replace(command, event_id=command.event_id or event_id)
            self._execute(command)
        if isinstance(event, Decided):
            self._decided.set()
        self._backlog.look()

    def _begin_unsent(self) -> None:
        self._unsent = Unsent()
        self._backlog.begin()

    def _waits(self, was: bool) -> bool:
        """Whether sound waits for the connection, or its client is behind what was sent to it."""
        lagging = self._lagging if self._connected else None
        behind = 0.0 if lagging is None else lagging.behind()
        return self._unsent.full(self._delivery, behind, was=was)

    def _execute(self, command: Command) -> None:
        if isinstance(command, WakeAt):
            self._wake_at(command.when)
        elif isinstance(command, HangUp):
            self._hang_up(CallEnd(Outcome.COMPLETED, command.code, command.reason))
        elif isinstance(command, EngineTask):
            self._engine_tasks.do(command)
        elif isinstance(command, ToolTask):
            self._tools.do(command)
        else:
            if isinstance(command, Play):
                self._caller_audio.note_playback(command.samples, command.rate, self._clock())
            elif isinstance(command, StopPlaying):
                self._caller_audio.note_playback_stopped(self._clock())
            elif isinstance(command, TransferRequested):
                self._group.create_task(self._transfer(command))
            self._notify(command)

    async def _transfer(self, request: TransferRequested) -> None:
        """Hand the call over where the line can; a client without one hears of the request."""
        line = self._transport
        if not isinstance(line, TelephoneLine):
            return
        try:
            if not line.transfers:
                raise Disconnected("this line has no way to transfer; see docs/telephony.md")
            await line.transfer(request.destination)
        except Exception as error:  # the line cannot, or is gone: the call goes on
            log.warning("the call was not transferred", exc_info=error)
            message = f"not transferred to {request.destination}: {error}"
            self._notify(Remark("transfer_failed", message))
        else:
            reason = f"transferred to {request.destination}"
            self._hang_up(CallEnd(Outcome.COMPLETED, NORMAL_CLOSURE, reason))

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            if self._wakes_at == when:
                return
            self._timer.cancel()
        self._wakes_at = when
        self._timer = self._loop.call_later(max(0.0, when - self._clock()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._handle(Tick())

    def leave(self, reason: str) -> None:
        """End the call after a goodbye of the agent, since the server is asked to."""
        self._asked_to_leave = True
        self._handle(Leave(reason))

    def _notify(self, notice: Notice) -> None:
        self._turn_log.see(notice)
        if self._trace is not None:
            self._trace.see(notice, self._clock())
        if not self._connected:
            return
        try:
            self._unsent.put(notice)
        except asyncio.QueueFull:
            end = CallEnd(Outcome.DISCONNECTED, POLICY_VIOLATION, "the client reads too slowly")
            if self._slot is None:
                self._hang_up(end)
            else:
                self._lose(self._transport, end)


async def _closed(transport: Transport) -> None:
    """Close a connection that another one replaces."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            reason = "the session goes on over another connection, or waits for one"
            await transport.close(RESUMED_ELSEWHERE, reason)
    except (Disconnected, TimeoutError):
        log.info("the old connection did not take the close")
    except Exception:  # the call goes on without it
        log.exception("the old connection could not be closed")
