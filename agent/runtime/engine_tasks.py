"""The engines' work for one call: commands of the session in, inputs of the session out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from concurrent.futures import Executor, Future
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Protocol, assert_never, cast, get_args

import numpy as np

from agent.audio.samples import Samples
from agent.audio.vad import SpeechGate
from agent.compute import Compute, Urgency
from agent.decision import Answer
from agent.reply import ReplyDone, ReplyPiece
from agent.responders.base import Responder, ResponderError, WaitingCall
from agent.runtime.contained import ContainedCall, explain
from agent.session.commands import (
    Abandon,
    AbandonSpeech,
    CancelDecode,
    Decide,
    DecodeFinal,
    DecodePartial,
    DropTurnAudio,
    EndSpeech,
    EngineTask,
    FeedRecogniser,
    JudgePause,
    Prepare,
    Respond,
    Speak,
)
from agent.session.events import (
    Decided,
    FinalTranscript,
    Input,
    PartialTranscript,
    PauseJudged,
    ReplyEvent,
    SegmentSpoken,
    SoundReady,
    StageFailed,
)
from agent.tools.toolbox import Toolbox
from asr.engine import AsrError, GlancingListening, Listening, SteppedListening, Transcriber
from asr.transcript import Transcript
from tts.engine import SpeechChunk, Synthesizer, TtsError


class NothingExpected(Exception):
    """An error that no engine raises: all of its errors are faults."""


@dataclass(frozen=True, slots=True)
class Engines:
    """The loaded engines, which all calls share.

    Attributes:
        asr: the recogniser.
        responder: generates replies.
        tts: the synthesiser.
        new_gate: makes the voice activity detector of a call.
        compute: the thread of recogniser and responder.
        voices: threads that wait for the synthesiser's process.
        turn_model: judges pauses by their sound; None where the words alone decide.
        tools: the functions that replies may call and this server runs.
    """

    asr: Transcriber
    responder: Responder
    tts: Synthesizer
    new_gate: Callable[[], SpeechGate]
    compute: Compute
    voices: Executor
    turn_model: TurnModel | None = None
    tools: Toolbox = field(default_factory=Toolbox)


class TurnModel(Protocol):
    """Judges by the sound of a turn whether it is over, on a thread of its own."""

    def submit(self, sound: Samples) -> Future[float] | None:
        """Ask for the probability, for 16 kHz mono ``[n]``; None if too many questions wait."""

    def close(self) -> None:
        """Stop the thread."""


class EngineTasks:
    """The engines' work for one call, as asyncio tasks.

    Args:
        engines: the engines that do the work.
        group: holds the tasks; an unexpected exception in one of them ends the call.
        post: takes the results, as inputs of the session.
    """

    def __init__(
        self, engines: Engines, group: asyncio.TaskGroup, post: Callable[[Input], None]
    ) -> None:
        self._engines = engines
        self._group = group
        self._post = post
        self._responder = ContainedCall(engines.responder, engines.compute)
        self._responder_lock = asyncio.Lock()
        self._listening: dict[int, Listening] = {}
        self._segments: dict[int, asyncio.Queue[Speak | None]] = {}
        """Segments to synthesise, by generation; None ends them."""
        self._speaking: dict[int, asyncio.Task[None]] = {}
        """The task that synthesises, by generation."""
        self._running: dict[int, set[asyncio.Task[None]]] = {}
        """Tasks by generation; 0 for tasks that belong to no reply."""
        self._prepared: Prepare | None = None
        self._partials: dict[int, asyncio.Task[None]] = {}
        self._finals: dict[int, asyncio.Task[None]] = {}
        """The newest decode of each kind, by turn."""
        self._glances: dict[int, asyncio.Task[None]] = {}
        """The newest glance by turn; a final decode does not take its place."""
        self._sound: dict[int, list[Samples]] = {}
        """The sound of turns by id, for the turn model."""
        self._refused_turn = 0
        """The last turn whose sound the recogniser refused; it is reported once."""

    def do(self, task: EngineTask) -> None:
        """Begin the work of a command; its results are posted as inputs."""
        match task:
            case FeedRecogniser():
                self._feed_recogniser(task)
            case DecodePartial():
                decodes = self._partials if self._glancing(task) is None else self._glances
                decodes[task.turn] = self._start(self._decode_partial(task))
            case DecodeFinal():
                _drop(self._partials.pop(task.turn, None))
                self._finals[task.turn] = self._start(self._decode_final(task))
            case JudgePause():
                self._judge(task)
            case CancelDecode():
                _drop(self._finals.pop(task.turn, None))
            case DropTurnAudio():
                _drop(self._glances.pop(task.turn, None))
                _drop(self._partials.pop(task.turn, None))
                _drop(self._finals.pop(task.turn, None))
                self._sound.pop(task.turn, None)
                if listening := self._listening.pop(task.turn, None):
                    listening.close()
            case Prepare():
                idle = self._prepared is None
                self._prepared = task
                if idle:
                    self._start(self._prepare())
            case Respond():
                self._start(self._respond(task), task.generation)
            case Speak():
                if task.generation not in self._segments:
                    self._segments[task.generation] = asyncio.Queue()
                    speaking = self._start(self._speak(task.generation), task.generation)
                    self._speaking[task.generation] = speaking
                self._segments[task.generation].put_nowait(task)
            case EndSpeech():
                if segments := self._segments.get(task.generation):
                    segments.put_nowait(None)
            case AbandonSpeech():
                _drop(self._speaking.pop(task.generation, None))
            case Abandon():
                self._segments.pop(task.generation, None)
                for running in self._running.pop(task.generation, set()):
                    running.cancel()
            case Decide():
                self._start(self._decide(task))
            case _:
                assert_never(task)

    def _feed_recogniser(self, task: FeedRecogniser) -> None:
        if task.turn == self._refused_turn:
            return
        try:
            if task.turn not in self._listening:
                self._listening[task.turn] = self._engines.asr.listen()
            self._listening[task.turn].feed(task.samples)
            if self._engines.turn_model is not None:
                self._sound.setdefault(task.turn, []).append(task.samples)
        except Exception as error:  # of a plug-in, any
            self._refused_turn = task.turn
            message = explain("recogniser", error, AsrError)
            asyncio.get_running_loop().call_soon(
                self._post, StageFailed("asr", message, turn=task.turn)
            )

    def _judge(self, task: JudgePause) -> None:
        model, sound = self._engines.turn_model, self._sound.get(task.turn)
        if model is None or not sound or (asked := model.submit(np.concatenate(sound))) is None:
            return  # then the words decide alone
        self._start(self._await_judgement(task, asked))

    async def _await_judgement(self, task: JudgePause, asked: Future[float]) -> None:
        try:
            probability = await asyncio.wrap_future(asked)
        except Exception as error:  # then the words decide alone
            explain("turn model", error, NothingExpected)
        else:
            self._post(PauseJudged(task.turn, task.revision, probability))

    async def _decode_partial(self, task: DecodePartial) -> None:
        listening = self._listening.get(task.turn)
        if listening is None:
            return
        urgency = Urgency.FINAL if task.urgent else Urgency.PARTIAL
        glancing = self._glancing(task)
        try:
            if glancing is not None:
                transcript = await self._engines.compute.run(urgency, glancing.glance)
                _expect(Transcript, transcript, "glance()")
            else:
                transcript = await self._decode(urgency, listening, final=False)
        except Exception as error:  # of a plug-in, any
            message = explain("recogniser", error, AsrError)
            self._post(StageFailed("asr", message, turn=task.turn))
        else:
            self._post(PartialTranscript(task.turn, transcript, glancing is not None))

    def _glancing(self, task: DecodePartial | DecodeFinal) -> GlancingListening | None:
        """The turn's recognition stream if words are urgent and it has a faster way to them."""
        listening = self._listening.get(task.turn)
        return listening if task.urgent and isinstance(listening, GlancingListening) else None

    async def _decode_final(self, task: DecodeFinal) -> None:
        listening = self._listening.get(task.turn)
        try:
            if listening is None:
                raise AsrError("no sound of this turn arrived")
            if (glancing := self._glancing(task)) is not None:
                transcript = await self._engines.compute.run(Urgency.FINAL, glancing.skim)
                _expect(Transcript, transcript, "skim()")
            else:
                transcript = await self._decode(Urgency.FINAL, listening, final=True)
        except Exception as error:  # of a plug-in, any
            message = explain("recogniser", error, AsrError)
            self._post(StageFailed("asr", message, task.turn, task.revision))
        else:
            self._post(FinalTranscript(task.turn, task.revision, transcript))

    async def _decode(self, urgency: Urgency, listening: Listening, *, final: bool) -> Transcript:
        """Decode, in steps where the recogniser has them: one that is cancelled ends early."""
        compute = self._engines.compute
        found: object = None
        if isinstance(listening, SteppedListening):
            async with aclosing(compute.iterate(urgency, listening.steps(final=final))) as steps:
                async for found in steps:  # noqa: B007
                    pass
        else:
            work = listening.finish if final else listening.hypothesis
            found = await compute.run(urgency, work)
        _expect(Transcript, found, "finish()" if final else "hypothesis()")
        return cast(Transcript, found)

    async def _prepare(self) -> None:
        async with self._responder_lock:
            task, self._prepared = self._prepared, None
            if task is None:
                return
            try:
                await self._responder.prepare(task.messages, task.options)
            except ResponderError as error:
                self._post(StageFailed("responder", str(error)))

    async def _respond(self, task: Respond) -> None:
        if task.apart:
            # The prompt of a reply apart must not replace the conversation's in the cache.
            responder = ContainedCall(self._engines.responder, self._engines.compute)
            try:
                await self._reply(responder, task)
            finally:
                await asyncio.shield(responder.close())
            return
        async with self._responder_lock:
            await self._reply(self._responder, task)

    async def _decide(self, task: Decide) -> None:
        """Answer questions; whatever goes wrong is said and changes nothing else."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(task.timeout):
                answers = await self._answers(task)
            for answer in answers:
                _expect(Answer, answer, "decide()")
        except TimeoutError:
            self._post(Decided(task.number, error=f"no decision within {task.timeout:g} s"))
        except Exception as error:  # of a plug-in, any
            self._post(Decided(task.number, error=explain("responder", error, ResponderError)))
        else:
            ms = 1000 * (asyncio.get_running_loop().time() - began)
            self._post(Decided(task.number, tuple(answers), ms))

    async def _answers(self, task: Decide) -> Sequence[Answer]:
        asked = (task.messages, task.questions, task.words)
        if task.quick:  # reads the cache beside a reply that is under way
            answers = await self._responder.decide(*asked, quick=True)
            if answers is not None:
                return answers
        async with self._responder_lock:
            return await self._responder.decide(*asked, quick=task.quick) or ()

    async def _reply(self, responder: WaitingCall, task: Respond) -> None:
        pieces = responder.reply(task.messages, task.deadline, task.options)
        piece: ReplyPiece | None = None
        try:
            async for piece in pieces:
                _expect(ReplyPiece, piece, "reply()")
                self._post(ReplyEvent(task.generation, piece))
            if not isinstance(piece, ReplyDone):
                raise ResponderError("the responder ended without a complete reply")
        except (ResponderError, TypeError) as error:
            self._post(StageFailed("responder", str(error), generation=task.generation))
        finally:
            await pieces.aclose()

    async def _speak(self, generation: int) -> None:
        segments = self._segments[generation]
        try:
            while (task := await segments.get()) is not None:
                await self._speak_segment(task)
        except TtsError as error:
            self._post(StageFailed("tts", str(error), generation=generation))
        finally:
            self._segments.pop(generation, None)
            self._speaking.pop(generation, None)

    async def _speak_segment(self, task: Speak) -> None:
        async with aclosing(self._voiced(task.text)) as chunks:
            async for chunk in chunks:
                self._post(SoundReady(task.generation, task.segment, chunk))
        self._post(SegmentSpoken(task.generation, task.segment))

    async def _voiced(self, text: str) -> AsyncGenerator[SpeechChunk, None]:
        """The sound of ``text``; every failure of the voice is a ``TtsError``."""
        try:
            chunks = self._engines.tts.speak(text)
            step = self._engines.voices.submit(next, chunks, None)
            try:
                while (chunk := await asyncio.wrap_future(step)) is not None:
                    _expect(SpeechChunk, chunk, "speak()")
                    yield chunk
                    step = self._engines.voices.submit(next, chunks, None)
            finally:
                # A generator cannot be closed while it runs on its thread.
                step.add_done_callback(lambda _: chunks.close())
        except Exception as error:  # of a plug-in, any
            raise TtsError(explain("voice", error, TtsError)) from error

    def _start(self, work: Coroutine[Any, Any, None], generation: int = 0) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._running.setdefault(generation, set()).add(task)
        task.add_done_callback(lambda done: self._ended(generation, done))
        return task

    def _ended(self, generation: int, task: asyncio.Task[None]) -> None:
        running = self._running.get(generation, set())
        running.discard(task)
        if not running:
            self._running.pop(generation, None)

    def stop(self) -> None:
        """Cancel all running tasks."""
        for task in [task for tasks in self._running.values() for task in tasks]:
            task.cancel()

    async def release(self) -> None:
        """Release the call's recognition streams and its responder state."""
        for listening in self._listening.values():
            with suppress(Exception):  # of a plug-in, any; the call is over
                listening.close()
        await asyncio.shield(self._responder.close())


def _expect(kind: type | UnionType, found: object, method: str) -> None:
    """Refuse what an engine of another's making must not return."""
    if not isinstance(found, kind):
        names = " or ".join(each.__name__ for each in get_args(kind) or (kind,))
        raise TypeError(f"{method} gave {type(found).__name__}, not {names}")


def _drop(decode: asyncio.Task[None] | None) -> None:
    """Cancel a decode, which skips it if it has not begun."""
    if decode is not None:
        decode.cancel()
