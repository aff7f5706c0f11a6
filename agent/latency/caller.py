"""A headless caller: plays recordings in real time over the real wire and listens.

Latency is measured at the caller's ear, from the stereo recording of the call.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from agent.audio import (
    AUDIBLE_DBFS,
    NOISE_FLOOR_DBFS,
    Samples,
    first_above,
    from_pcm16,
    last_above,
    to_pcm16,
)
from agent.errors import CallError
from agent.latency.line import Line
from agent.latency.results import TurnResult, spans_at_the_ear
from agent.protocol import WIRE_RATE

FRAME = WIRE_RATE // 50
"""Samples per message, 20 ms as a microphone delivers them."""
REPLY_TIMEOUT = 20.0
GAP_SECONDS = 0.3
"""Pause between the end of a reply and the next question."""


@dataclass(frozen=True, slots=True)
class Question:
    """A recording to be played into the call."""

    name: str
    samples: Samples
    """float32 mono at 24 kHz."""


@dataclass(slots=True)
class _TurnLog:
    """What the server said during one turn."""

    heard: list[str] = field(default_factory=list)
    answered: str = ""
    stats: dict[str, float] = field(default_factory=dict)
    timings: dict[str, Any] | None = None
    errors: list[str] = field(default_factory=list)
    speaking: bool = False
    replies: int = 0
    replying: bool = False
    reply_audio: float = 0.0


class Caller:
    """One call. Use ``turns`` or ``silence`` once.

    Args:
        url: websocket address of a server that speaks docs/protocol.md.
        reply_timeout: seconds from the end of a question until it counts as unanswered.
        on_event: told every server event with the second of the call at which it arrived.
    """

    def __init__(
        self,
        url: str,
        *,
        reply_timeout: float = REPLY_TIMEOUT,
        on_event: Callable[[float, dict[str, Any]], None] | None = None,
    ) -> None:
        self._url = url
        self._on_event = on_event
        self._reply_timeout = reply_timeout
        self._log = _TurnLog()
        self._changed = asyncio.Event()
        self._began = 0.0
        self.line = Line(WIRE_RATE)

    async def turns(self, questions: Sequence[Question]) -> AsyncIterator[TurnResult]:
        """Ask one question after the other and yield each turn when its reply was heard.

        Raises:
            CallError: nobody answers, or the connection is lost.
        """
        async with self.silence() as tasks:
            for number, question in enumerate(questions, 1):
                yield await self._turn(number, question, tasks)

    @asynccontextmanager
    async def silence(self) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Be on the line and say nothing; gives the tasks that keep the line."""
        connection = await _dial(self._url)
        async with connection:
            self._began = asyncio.get_running_loop().time()
            tasks = [
                asyncio.create_task(self._speak(connection)),
                asyncio.create_task(self._listen(connection)),
            ]
            try:
                yield tasks
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def now(self) -> float:
        """Seconds since the call began."""
        return asyncio.get_running_loop().time() - self._began

    async def _speak(self, connection: ClientConnection) -> None:
        """The microphone: a frame is sent at the moment its last sample was spoken."""
        sent = 0
        while True:
            sent += FRAME
            await asyncio.sleep(max(0.0, sent / WIRE_RATE - self.now))
            audio = base64.b64encode(to_pcm16(self.line.next_frame(FRAME))).decode("ascii")
            await connection.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))

    async def _listen(self, connection: ClientConnection) -> None:
        async for message in connection:
            event = json.loads(message)
            if self._on_event is not None:
                self._on_event(self.now, event)
            self._take(event)
            self._changed.set()
        raise CallError(f"the server hung up: {connection.close_reason or 'no reason given'}")

    def _take(self, event: dict[str, Any]) -> None:
        log = self._log
        match event["type"]:
            case "input_audio_buffer.speech_started":
                log.speaking = True
                # What every client of this protocol does: the caller speaks, so be silent.
                self.line.stop(self.now)
            case "input_audio_buffer.speech_stopped":
                log.speaking = False
            case "conversation.item.input_audio_transcription.completed":
                log.heard.append(event["transcript"])
            case "response.created":
                log.replying, log.reply_audio = True, 0.0
            case "response.output_audio.delta":
                sound = from_pcm16(base64.b64decode(event["delta"]))
                log.reply_audio += len(sound) / WIRE_RATE
                self.line.play(sound, self.now)
            case "onebreath.turn.timings":
                log.timings = event
            case "response.done":
                self._take_reply(event["response"])
            case "error":
                log.errors.append(event["error"]["message"])

    def _take_reply(self, response: dict[str, Any]) -> None:
        log = self._log
        log.replying = False
        log.replies += 1
        contents = [part for item in response["output"] for part in item["content"]]
        log.answered = " ".join(part.get("transcript") or "" for part in contents).strip()
        log.stats = response.get("onebreath", {})
        if response["status"] == "failed":
            log.errors.append((response.get("status_details") or {}).get("reason", "failed"))

    async def _turn(
        self, number: int, question: Question, tasks: list[asyncio.Task[None]]
    ) -> TurnResult:
        self._log = _TurnLog()
        begins = self.line.say(question.samples)
        error = await self._until_answered(tasks)
        return self._result(number, question, begins, error)

    async def _until_answered(self, tasks: list[asyncio.Task[None]]) -> str | None:
        deadline: float | None = None
        while not self._answered():
            if deadline is None and not self.line.saying:
                deadline = self.now + self._reply_timeout
            if deadline is not None and self.now > deadline:
                return f"no reply within {self._reply_timeout:.0f} s"
            for task in tasks:
                if task.done():
                    raise _why(task)
            self._changed.clear()
            try:
                async with asyncio.timeout(0.05):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return "; ".join(self._log.errors) or None

    def _answered(self) -> bool:
        log = self._log
        quiet = not (self.line.saying or log.speaking or log.replying) and log.replies > 0
        return quiet and self.now > self.line.silent_from() + GAP_SECONDS

    def _result(
        self, number: int, question: Question, begins: int, error: str | None
    ) -> TurnResult:
        log = self._log
        spoken = last_above(question.samples, NOISE_FLOOR_DBFS) or 0
        speech_end = begins + spoken
        audible = first_above(self.line.ear[speech_end:], AUDIBLE_DBFS)
        voice_to_voice = None if audible is None else audible / WIRE_RATE * 1000
        spans: dict[str, float] = {}
        if voice_to_voice is not None and log.timings is not None:
            spans = spans_at_the_ear(
                log.timings["spans_ms"],
                log.timings["speech_end_ms"],
                speech_end / WIRE_RATE * 1000,
                voice_to_voice,
            )
        return TurnResult(
            turn=number,
            file=question.name,
            heard=" ".join(log.heard).strip(),
            answered=log.answered,
            voice_to_voice_ms=None if voice_to_voice is None else round(voice_to_voice, 3),
            spans=spans,
            reply_seconds=round(log.reply_audio, 3),
            stats=log.stats,
            error=error if voice_to_voice is not None else error or "the reply was not audible",
        )


async def _dial(url: str) -> ClientConnection:
    try:
        return await connect(url, compression=None, max_size=16 * 2**20, open_timeout=10)
    except (InvalidURI, ValueError):
        raise CallError(f"{url}: no websocket address; give ws://host:port/v1/realtime") from None
    except TimeoutError:
        raise CallError(f"{url}: no answer within 10 s") from None
    except (OSError, InvalidHandshake) as error:
        raise CallError(
            f"{url}: nobody answers there ({error}); is `onebreath serve` running?"
        ) from None


def _why(task: asyncio.Task[None]) -> Exception:
    error = task.exception()
    if isinstance(error, CallError):
        return error
    if isinstance(error, ConnectionClosed):
        return CallError(f"the connection was lost: {error}")
    return error if isinstance(error, Exception) else CallError("the call ended")
