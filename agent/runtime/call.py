"""The runner of a call: it connects transport, session, engines and timers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from agent.audio.caller_level import CallerLevel
from agent.audio.echo import EchoDetector
from agent.close_codes import NORMAL_CLOSURE, POLICY_VIOLATION
from agent.config.settings import Settings
from agent.errors import AudioError
from agent.protocol import AppendedAudio, Identified
from agent.responders.base import uses_tools
from agent.runtime.audio_input import CallerAudio
from agent.runtime.call_log import TurnLog, current_call
from agent.runtime.calls import CONNECTION_CLOSED, CallEnd, CallRegistry, Outcome
from agent.runtime.engine_tasks import Engines, EngineTasks
from agent.runtime.tool_tasks import ToolTasks
from agent.session.commands import Command, EngineTask, HangUp, ToolTask, WakeAt
from agent.session.events import (
    CallStarted,
    Configure,
    Input,
    Leave,
    Tick,
)
from agent.session.notices import Configured, Notice, Play, StopPlaying, Trouble
from agent.session.playback import Delivery
from agent.session.session import Session
from agent.transports.base import Disconnected, Transport

log = logging.getLogger("onebreath.call")

MAX_UNSENT = 512
"""Notices that may wait for a slow client; one more ends the call."""
TURN_SECONDS = 0.002
"""Seconds of work on a client's sound after which the event loop gets its turn."""
SEND_SECONDS = 10.0
"""Seconds that one send may take; a slower client counts as gone."""


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
    ) -> None:
        self._calls = calls
        self._engines = engines
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        tools = engines.tools.offered(transport) if uses_tools(engines.responder) else ()
        self._session = Session(settings, self._clock(), delivery, tools)
        self._session.user_turn.has_head = getattr(engines.responder, "judges_turns", False)
        self._initial = initial
        echo = EchoDetector() if settings.turns.echo else None
        level = CallerLevel() if settings.turns.far_voices else None
        self._caller_audio = CallerAudio(
            engines.new_gate(), transport.rate, self._clock(), echo, level
        )
        self._unsent: asyncio.Queue[Notice] = asyncio.Queue(MAX_UNSENT)
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_seconds = settings.server.idle_seconds
        self._last_message_at = self._clock()
        self._over = asyncio.Event()
        self._ending = False
        self.call_id = current_call.get()
        self._turn_log = TurnLog(settings.log.words)
        self._end_of_call = CONNECTION_CLOSED

    async def run(self) -> CallEnd:
        """Serve until the client hangs up or the session ends the call."""
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
        tasks = [group.create_task(self._receive()), group.create_task(self._send())]
        try:
            await self._over.wait()
        finally:
            if self._calls is not None:
                self._calls.leavers.discard(self.leave)
            for task in tasks:
                task.cancel()

    # ---- the line ------------------------------------------------------------------

    async def _receive(self) -> None:
        try:
            async for message in self._transport.receive():
                self._last_message_at = self._clock()
                if isinstance(message, Trouble):
                    self._notify(message)
                elif isinstance(message, AppendedAudio):
                    await self._hear(message)
                elif isinstance(message, Identified):
                    self._handle(message.input, message.event_id)
                else:
                    self._handle(message)
                # Send first: a client that reads must not be taken for one that does not.
                while self._crowded and not self._over.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        except Disconnected:
            log.info("the client is gone")
        except AudioError as error:
            await self._end(POLICY_VIOLATION, str(error))
        self._over.set()

    async def _hear(self, message: AppendedAudio) -> None:
        """Take sound frame by frame; one message may hold half a minute, so others get turns."""
        began = time.thread_time()
        size = self._transport.rate // 4
        for start in range(0, len(message.samples), size):
            piece = message.samples[start : start + size]
            for frame in self._caller_audio.push(piece, self._clock()):
                self._handle(frame)
                if time.thread_time() - began > TURN_SECONDS:
                    await asyncio.sleep(0)
                    began = time.thread_time()

    @property
    def _crowded(self) -> bool:
        return self._unsent.qsize() > MAX_UNSENT // 2

    def _watch_idleness(self) -> None:
        """Hang up on a client that is silent; one timer a call is cheaper than one a message."""
        ends = self._last_message_at + self._idle_seconds
        if self._clock() < ends:
            wait = ends - self._clock()
            self._idle_timer = self._loop.call_later(wait, self._watch_idleness)
        else:
            reason = f"nothing was received for {self._idle_seconds:.0f} s"
            self._hang_up(NORMAL_CLOSURE, reason)

    async def _send(self) -> None:
        try:
            while True:
                notice = await self._unsent.get()
                async with asyncio.timeout(SEND_SECONDS):
                    await self._transport.send(notice)
        except (Disconnected, TimeoutError) as error:
            reason = f"nothing can be sent any more: {type(error).__name__}"
            self._end_of_call = CallEnd(Outcome.DISCONNECTED, NORMAL_CLOSURE, reason)
            self._over.set()

    def _hang_up(self, code: int, reason: str) -> None:
        if self._ending:
            return
        self._ending = True
        self._group.create_task(self._end(code, reason))

    async def _end(self, code: int, reason: str) -> None:
        self._end_of_call = CallEnd(Outcome.COMPLETED, code, reason)
        try:
            async with asyncio.timeout(1.0):
                await self._transport.close(code, reason)
        except TimeoutError:
            log.info("the client does not take the goodbye either")
        self._over.set()

    # ---- the session ---------------------------------------------------------------

    def _configure(self, settings: Configure) -> None:
        for command in self._session.handle(settings, self._clock()):
            if not isinstance(command, Configured):
                self._execute(command)

    def _handle(self, event: Input, event_id: str | None = None) -> None:
        if self._ending or self._over.is_set():
            return
        for command in self._session.handle(event, self._clock()):
            if event_id is not None and isinstance(command, Trouble):
                command = replace(command, event_id=command.event_id or event_id)
            self._execute(command)

    def _execute(self, command: Command) -> None:
        if isinstance(command, WakeAt):
            self._wake_at(command.when)
        elif isinstance(command, HangUp):
            self._hang_up(command.code, command.reason)
        elif isinstance(command, EngineTask):
            self._engine_tasks.do(command)
        elif isinstance(command, ToolTask):
            self._tools.do(command)
        else:
            if isinstance(command, Play):
                self._caller_audio.note_playback(command.samples, command.rate, self._clock())
            elif isinstance(command, StopPlaying):
                self._caller_audio.note_playback_stopped(self._clock())
            self._notify(command)

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
        """End the call after a goodbye of the agent."""
        self._handle(Leave(reason))

    def _notify(self, notice: Notice) -> None:
        self._turn_log.see(notice)
        try:
            self._unsent.put_nowait(notice)
        except asyncio.QueueFull:
            self._hang_up(POLICY_VIOLATION, "the client reads too slowly")
