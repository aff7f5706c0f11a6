"""One call: the only place where transport, session and engines wait for each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, assert_never

from agent.commands import (
    Abandon,
    Command,
    DecodeFinal,
    DecodePartial,
    Forget,
    HangUp,
    Hear,
    Prepare,
    Respond,
    Speak,
    Task,
    WakeAt,
)
from agent.compute import Compute, Urgency
from agent.config import Settings
from agent.ear import Ear
from agent.errors import AudioError
from agent.events import (
    CallStarted,
    Denoised,
    FinalHeard,
    Input,
    PartialHeard,
    PromptReady,
    ReplyComplete,
    SegmentSpoken,
    SoundReady,
    StageFailed,
    TextReady,
    Tick,
)
from agent.notices import Notice
from agent.protocol import AppendedAudio
from agent.reply import CanvasStep, Message, Prefilled, ReplyDone, ReplyPiece, ReplyText
from agent.responders.base import Responder, ResponderError
from agent.session import Session
from agent.transports.base import Disconnected, Transport
from agent.vad import SpeechGate
from asr.engine import AsrError, Listening, Transcriber
from tts.engine import SpeechChunk, Synthesizer, TtsError

log = logging.getLogger("onebreath.call")

MAX_UNSENT = 512
"""Notices that may wait for a slow client before the call is ended."""
SEND_SECONDS = 10.0
"""A client that takes nothing for this long is gone."""
NORMAL_CLOSURE = 1000
POLICY_VIOLATION = 1008


@dataclass(frozen=True, slots=True)
class Engines:
    """What all calls share."""

    asr: Transcriber
    responder: Responder
    tts: Synthesizer
    new_gate: Callable[[], SpeechGate]
    compute: Compute
    voices: Executor
    """Threads that wait for the synthesiser's process."""


class CallRunner:
    """Runs one call from the first event to the last."""

    def __init__(self, engines: Engines, settings: Settings, transport: Transport) -> None:
        self._engines = engines
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._session = Session(settings, self._loop.time())
        self._ear = Ear(engines.new_gate(), transport.rate, self._loop.time())
        self._responder = engines.responder.open()
        self._responder_free = asyncio.Lock()
        self._listening: dict[int, Listening] = {}
        self._unsent: asyncio.Queue[Notice] = asyncio.Queue(MAX_UNSENT)
        self._segments: dict[int, asyncio.Queue[Speak | None]] = {}
        """Per generation, what is to be spoken; None ends it."""
        self._work: dict[int, list[asyncio.Task[None]]] = {}
        self._prepared: tuple[Message, ...] | None = None
        self._partial: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_seconds = settings.server.idle_seconds
        self._last_message_at = self._loop.time()
        self._group: asyncio.TaskGroup | None = None
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Serve until the client hangs up or the session ends the call."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._handle(CallStarted())
                self._watch_idleness()
                tasks = [group.create_task(self._receive()), group.create_task(self._send())]
                await self._over.wait()
                for task in [*tasks, *(t for work in self._work.values() for t in work)]:
                    task.cancel()
        finally:
            await self._release()

    async def _release(self) -> None:
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        for listening in self._listening.values():
            listening.close()
        await asyncio.shield(self._engines.compute.run(Urgency.REPLY, self._responder.close))

    # ---- the line ------------------------------------------------------------------

    async def _receive(self) -> None:
        try:
            async for message in self._transport.receive():
                self._last_message_at = self._loop.time()
                if isinstance(message, AppendedAudio):
                    for heard in self._ear.push(message.samples, self._loop.time()):
                        self._handle(heard)
                else:
                    self._handle(message)
        except Disconnected:
            log.info("the client is gone")
        except AudioError as error:
            await self._end(POLICY_VIOLATION, str(error))
        self._over.set()

    def _watch_idleness(self) -> None:
        """One timer that looks again when it is due: cheaper than one for every message."""
        ends = self._last_message_at + self._idle_seconds
        if self._loop.time() < ends:
            self._idle_timer = self._loop.call_at(ends, self._watch_idleness)
        else:
            reason = f"nothing was received for {self._idle_seconds:.0f} s"
            self._start(self._end(NORMAL_CLOSURE, reason))

    async def _send(self) -> None:
        try:
            while True:
                notice = await self._unsent.get()
                async with asyncio.timeout(SEND_SECONDS):
                    await self._transport.send(notice)
        except (Disconnected, TimeoutError) as error:
            log.info("nothing can be sent any more: %s", type(error).__name__)
            self._over.set()

    async def _end(self, code: int, reason: str) -> None:
        log.info("hanging up: %s", reason)
        try:
            async with asyncio.timeout(1.0):
                await self._transport.close(code, reason)
        except TimeoutError:
            log.info("the client does not take the goodbye either")
        self._over.set()

    # ---- the session ---------------------------------------------------------------

    def _handle(self, event: Input) -> None:
        if self._over.is_set():
            return
        for command in self._session.handle(event, self._loop.time()):
            self._execute(command)

    def _execute(self, command: Command) -> None:
        match command:
            case WakeAt():
                self._wake_at(command.when)
            case HangUp():
                self._start(self._end(command.code, command.reason))
            case (
                Hear() | DecodePartial() | DecodeFinal() | Forget()
                | Prepare() | Respond() | Speak() | Abandon()
            ):  # fmt: skip
                self._work_on(command)
            case _:
                self._notify(command)

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            if self._timer.when() == when and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._handle(Tick())

    def _notify(self, notice: Notice) -> None:
        try:
            self._unsent.put_nowait(notice)
        except asyncio.QueueFull:
            self._start(self._end(POLICY_VIOLATION, "the client reads too slowly"))

    def _start(self, work: Coroutine[Any, Any, None], generation: int = 0) -> asyncio.Task[None]:
        assert self._group is not None
        task = self._group.create_task(work)
        running = self._work.setdefault(generation, [])
        running[:] = [*(old for old in running if not old.done()), task]
        return task

    # ---- the engines ---------------------------------------------------------------

    def _work_on(self, task: Task) -> None:
        match task:
            case Hear():
                if task.turn not in self._listening:
                    self._listening[task.turn] = self._engines.asr.listen()
                self._listening[task.turn].feed(task.samples)
            case DecodePartial():
                self._partial = self._start(self._decode_partial(task))
            case DecodeFinal():
                self._drop_partial()
                self._start(self._decode_final(task))
            case Forget():
                self._drop_partial()
                if listening := self._listening.pop(task.turn, None):
                    listening.close()
            case Prepare():
                idle = self._prepared is None
                self._prepared = task.messages
                if idle:
                    self._start(self._prepare())
            case Respond():
                self._segments[task.generation] = asyncio.Queue()
                self._start(self._respond(task), task.generation)
                self._start(self._speak(task.generation), task.generation)
            case Speak():
                self._segments[task.generation].put_nowait(task)
            case Abandon():
                self._segments.pop(task.generation, None)
                for running in self._work.pop(task.generation, []):
                    running.cancel()
            case _:
                assert_never(task)

    def _drop_partial(self) -> None:
        """A hypothesis that was not begun yet is not worth the time any more."""
        if self._partial is not None:
            self._partial.cancel()

    async def _decode_partial(self, task: DecodePartial) -> None:
        listening = self._listening.get(task.turn)
        if listening is None:
            return
        try:
            transcript = await self._engines.compute.run(Urgency.PARTIAL, listening.hypothesis)
        except AsrError as error:
            self._handle(StageFailed("asr", str(error), turn=task.turn))
        else:
            self._handle(PartialHeard(task.turn, transcript))

    async def _decode_final(self, task: DecodeFinal) -> None:
        listening = self._listening.pop(task.turn)
        try:
            transcript = await self._engines.compute.run(Urgency.FINAL, listening.finish)
        except AsrError as error:
            self._handle(StageFailed("asr", str(error), turn=task.turn))
        else:
            self._handle(FinalHeard(task.turn, task.revision, transcript))
        finally:
            listening.close()

    async def _prepare(self) -> None:
        async with self._responder_free:
            messages, self._prepared = self._prepared, None
            if messages is None:
                return
            try:
                await self._engines.compute.run(
                    Urgency.PREPARE, lambda: self._responder.prepare(messages)
                )
            except ResponderError as error:
                self._handle(StageFailed("responder", str(error)))

    async def _respond(self, task: Respond) -> None:
        async with self._responder_free:
            pieces = self._engines.compute.iterate(
                Urgency.REPLY, self._responder.reply(task.messages)
            )
            try:
                async for piece in pieces:
                    self._handle(_told(task.generation, piece))
            except ResponderError as error:
                self._handle(StageFailed("responder", str(error), generation=task.generation))
            finally:
                await pieces.aclose()
        if segments := self._segments.get(task.generation):
            segments.put_nowait(None)

    async def _speak(self, generation: int) -> None:
        segments = self._segments[generation]
        try:
            while (task := await segments.get()) is not None:
                await self._speak_segment(task)
        except TtsError as error:
            self._handle(StageFailed("tts", str(error), generation=generation))
        finally:
            self._segments.pop(generation, None)

    async def _speak_segment(self, task: Speak) -> None:
        chunks = self._engines.tts.speak(task.text)
        voices = self._engines.voices

        def following() -> SpeechChunk | None:
            return next(chunks, None)

        try:
            while (chunk := await self._loop.run_in_executor(voices, following)) is not None:
                self._handle(SoundReady(task.generation, task.segment, chunk))
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                voices.submit(close)
        self._handle(SegmentSpoken(task.generation, task.segment))


def _told(generation: int, piece: ReplyPiece) -> Input:
    match piece:
        case Prefilled():
            return PromptReady(generation, piece)
        case CanvasStep():
            return Denoised(generation, piece)
        case ReplyText():
            return TextReady(generation, piece.text)
        case ReplyDone():
            return ReplyComplete(generation, piece)
        case _:
            assert_never(piece)
