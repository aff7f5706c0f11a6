"""Engines for scenarios: they understand and speak tones, and cost the time that a script says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from agent.audio.samples import Samples
from agent.bench.virtual_time import UrgentFirst
from agent.compute import Compute, Urgency
from agent.config.tools import ToolSettings
from agent.reply import CanvasStep, FunctionTool, Message, Prefilled, ReplyPiece, ToolCall
from agent.responders.base import ResponderError
from agent.responders.scripted import ScriptedCall, ScriptedResponder
from agent.runtime.engine_tasks import Engines
from agent.tools.base import ToolResult
from agent.tools.built_in import built_in
from agent.tools.toolbox import Toolbox
from asr.engine import RATE, AsrError
from asr.recording import Recording
from asr.stable_prefix import StablePrefix
from asr.transcript import Transcript, Word
from support.fakes import FRAME
from support.scenario import EngineCosts, Scenario, ToolScript
from support.tone_language import ToneLanguage, agents_tongue, callers_tongue
from tts.engine import SpeechChunk, TtsError, WordSpan, check_text

T = TypeVar("T")
Spend = Callable[[float], None]
"""Lets seconds pass."""
GATE_OPENS = 0.01
"""Amplitude that the gate takes for speech. Low on purpose: noise and echo fool it."""
MAX_SECONDS = 120.0


class Meter:
    """Virtual seconds that a piece of work has cost."""

    def __init__(self) -> None:
        self._spent = 0.0

    def spend(self, seconds: float) -> None:
        self._spent += seconds

    def take(self) -> float:
        spent, self._spent = self._spent, 0.0
        return spent


class VirtualCompute(UrgentFirst):
    """One piece of work at a time, the most urgent first; takes what the meter says.

    As on the real thread, a piece that was begun runs to its end when nobody wants it any more.
    """

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    async def run(self, urgency: Urgency, work: Callable[[], T]) -> T:
        await self._admitted(urgency)
        loop = asyncio.get_running_loop()
        try:
            return work()
        finally:
            seconds = self._meter.take()
            loop.call_later(seconds, self._next)
            await asyncio.sleep(seconds)

    def close(self) -> None:
        """There is no thread to stop."""


class VirtualVoices(Executor):
    """Does at once what is submitted and gives the result when the meter says."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            finish = _setter(future.set_result, fn(*args, **kwargs))
        except Exception as error:  # the future carries it to the waiter
            finish = _setter(future.set_exception, error)
        asyncio.get_running_loop().call_later(self._meter.take(), finish)
        return future


def _setter(what: Callable[[Any], None], value: Any) -> Callable[[], None]:
    return lambda: what(value)


class LowGate:
    """Takes everything for speech that is louder than a whisper."""

    frame_samples = FRAME

    def probability(self, frame: Samples) -> float:
        return 1.0 if float(np.abs(frame).max()) > GATE_OPENS else 0.0

    def reset(self) -> None:
        """It remembers nothing."""


class ToneTranscriber:
    """Understands the tones that are in the sound, and what the script makes it mishear.

    Args:
        echo: what is understood, too, where the agent's own voice reaches the microphone.
    """

    def __init__(
        self, tongue: ToneLanguage, echo: ToneLanguage, costs: EngineCosts, spend: Spend
    ) -> None:
        self.tongue, self.echo, self.costs, self.spend = tongue, echo, costs, spend

    def listen(self) -> ToneListening:
        glances = self.costs.glance is not None
        return GlancingToneListening(self) if glances else ToneListening(self)

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def close(self) -> None:
        """Nothing to free."""


class ToneListening:
    """One utterance."""

    def __init__(self, engine: ToneTranscriber) -> None:
        self._engine = engine
        self._recording = Recording(MAX_SECONDS)
        self._prefix = StablePrefix()

    def feed(self, samples: Samples) -> None:
        self._recording.append(samples)

    def hypothesis(self) -> Transcript:
        self._engine.spend(self._engine.costs.partial)
        text, words = self._understood()
        text, stable = self._prefix.update(text)
        return Transcript(text, stable, False, words, self._recording.seconds)

    def finish(self) -> Transcript:
        self._engine.spend(self._engine.costs.asr)
        text, words = self._understood()
        if _broken(self._engine.costs.fail.asr, text):
            raise AsrError(f"the recogniser broke on {text!r}")
        return Transcript(text, len(text), True, words, self._recording.seconds)

    def close(self) -> None:
        self._recording.close()

    def _understood(self) -> tuple[str, tuple[Word, ...]]:
        sound = self._recording.since(0)
        found = self._engine.tongue.read(sound, RATE)
        if not found:
            # Of two voices the louder one is written down.
            found = self._engine.echo.read(sound, RATE, quietest=GATE_OPENS)
        text = " ".join(word.text for word in found)
        text = self._engine.costs.mishears.get(text, text)
        return text, tuple(Word(word.text, word.start, word.end) for word in found)


class GlancingToneListening(ToneListening):
    """One utterance, at whose words one can glance."""

    def glance(self) -> Transcript:
        self._engine.spend(self._engine.costs.glance or 0.0)
        text, _ = self._understood()
        text = self._engine.costs.guesses.get(text, text)
        return Transcript(text, 0, False, (), self._recording.seconds)

    def skim(self) -> Transcript:
        return self.finish()


class ToneVoice:
    """Speaks tones, a word in each chunk."""

    rate = 24_000

    def __init__(self, tongue: ToneLanguage, costs: EngineCosts, spend: Spend) -> None:
        self.tongue, self._costs, self._spend = tongue, costs, spend

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        check_text(text)
        return self._beeps(text)

    def _beeps(self, text: str) -> Generator[SpeechChunk, None, None]:
        for word in text.split():
            self._spend(self._costs.tts)
            if _broken(self._costs.fail.tts, word):
                raise TtsError(f"the voice broke on {word!r}")
            end = round(self.tongue.tone_seconds * self.rate)
            sound = self.tongue.say(word, self.rate)
            yield SpeechChunk(sound, self.rate, (WordSpan(word, 0, end),))

    def warm_up(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to free."""


class TimedResponder(ScriptedResponder):
    """The scripted responder, at a price."""

    def __init__(self, scenario: Scenario, spend: Spend) -> None:
        script = {words: _line(answer) for words, answer in scenario.answers.items()}
        super().__init__(script, steps=scenario.engines.steps)
        self.costs, self.spend = scenario.engines, spend

    def open(self) -> TimedCall:
        return TimedCall(self)


def _line(answer: str) -> str | ToolCall:
    return ToolCall("", answer.removeprefix("call "), "{}") if answer[:5] == "call " else answer


class TimedTool:
    """A function of the server that takes its time."""

    def __init__(self, name: str, script: ToolScript) -> None:
        self.offer = FunctionTool(name, name, {"type": "object"}, "server")
        self._script = script

    def can_use(self, line: object) -> bool:
        return True

    async def run(self, arguments: Mapping[str, Any], line: object) -> ToolResult:
        await asyncio.sleep(self._script.seconds)
        return ToolResult(self._script.output)


class TimedCall(ScriptedCall):
    def __init__(self, responder: TimedResponder) -> None:
        super().__init__(responder)
        self._costs, self._spend = responder.costs, responder.spend

    def prepare(self, messages: Sequence[Message], *options: Any, **named: Any) -> Prefilled:
        self._spend(self._costs.prefill)
        return super().prepare(messages, *options, **named)

    def reply_with(
        self, messages: Sequence[Message], *options: Any, **named: Any
    ) -> Iterator[ReplyPiece]:
        breaks = _broken(self._costs.fail.responder, messages[-1].content)
        for piece in super().reply_with(messages, *options, **named):
            if isinstance(piece, CanvasStep):
                self._spend(self._costs.step)
                if breaks and piece.step == piece.of:
                    raise ResponderError("the responder broke in its last step")
            yield piece


def _broken(word: str | None, text: str) -> bool:
    return word is not None and word in text


def virtual_engines(scenario: Scenario) -> Engines:
    """Engines whose work takes virtual time only."""
    meter = Meter()
    return _engines(scenario, meter.spend, VirtualCompute(meter), VirtualVoices(meter))


def live_engines(scenario: Scenario) -> Engines:
    """The same engines on real threads, where they really take their time."""
    return _engines(scenario, time.sleep, Compute(), ThreadPoolExecutor(4))


def _engines(scenario: Scenario, spend: Spend, compute: Compute, voices: Executor) -> Engines:
    costs = scenario.engines
    timed = [TimedTool(name, script) for name, script in scenario.tools.items()]
    callers, agents = callers_tongue(scenario.callers_word), agents_tongue(scenario.agents_word)
    return Engines(
        asr=ToneTranscriber(callers, agents, costs, spend),
        responder=TimedResponder(scenario, spend),
        tts=ToneVoice(agents, costs, spend),
        new_gate=LowGate,
        compute=compute,
        voices=voices,
        tools=Toolbox(None, [*built_in(ToolSettings(built_in=("hang_up",))), *timed]),
    )
