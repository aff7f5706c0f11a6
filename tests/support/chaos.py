"""Engines that fail on demand, and what kills, stops and slows the parts of a server meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agent.responders.scripted import ScriptedResponder
from asr.scripted import ScriptedListening, ScriptedTranscriber, script
from asr.transcript import Transcript
from tts.remote import RemoteSynthesizer

WORDS, ANSWER = "how are you", "Fine, thanks."
FAULTS = ("killed", "stopped", "slowed")
STOPPED_SECONDS, SLOW_SECONDS = 0.2, 0.03


@dataclass(slots=True)
class Mood:
    """The fault that an engine has at the moment; empty: none."""

    fault: str = ""

    def suffer(self) -> None:
        """Raise, or take time, as the fault says."""
        match self.fault:
            case "killed":
                raise RuntimeError("a bug")
            case "stopped":
                time.sleep(STOPPED_SECONDS)
            case "slowed":
                time.sleep(SLOW_SECONDS)


class MoodyTranscriber(ScriptedTranscriber):
    """Hears the same words in every turn, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.mood = Mood()

    def listen(self) -> ScriptedListening:
        made = super().listen()
        words = script(WORDS, samples_per_word=1)
        return _MoodyListening(words, made._recording, self.mood)


class _MoodyListening(ScriptedListening):
    def __init__(self, words: Any, recording: Any, mood: Mood) -> None:
        super().__init__(words, recording)
        self._mood = mood

    def finish(self) -> Transcript:
        self._mood.suffer()
        return super().finish()


class MoodyResponder(ScriptedResponder):
    """Answers the same to everything, or fails."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.mood = Mood()

    def _answer(self, words: str) -> str:
        self.mood.suffer()
        return ANSWER


@dataclass
class Torment:
    """Kills, stops and slows parts, one at a time, in a random order without end.

    Attributes:
        done: how often each fault befell each part.
    """

    draw: random.Random
    recogniser: Mood
    responder: Mood
    voice: RemoteSynthesizer
    done: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def run(self) -> None:
        """Torment until cancelled; the parts are well again at the end."""
        parts: dict[str, Callable[[str], Awaitable[None]]] = {
            "recogniser": lambda fault: self._feel(self.recogniser, fault),
            "responder": lambda fault: self._feel(self.responder, fault),
            "voice": self._voice,
        }
        pairs = [(part, fault) for part in parts for fault in FAULTS]
        try:
            while True:
                self.draw.shuffle(pairs)
                for part, fault in pairs:
                    await asyncio.sleep(self.draw.uniform(0.02, 0.1))
                    await parts[part](fault)
                    self.done[part, fault] += 1
        finally:
            self.recogniser.fault = self.responder.fault = ""

    async def _feel(self, mood: Mood, fault: str) -> None:
        mood.fault = fault
        await asyncio.sleep(0.1)
        mood.fault = ""

    async def _voice(self, fault: str) -> None:
        await torment_process(self.voice.pid, fault)


async def torment_process(pid: int, fault: str, seconds: float = STOPPED_SECONDS) -> None:
    """Kill a process, stop it for some time, or slow it down to a fraction for as long."""
    with suppress(ProcessLookupError):
        match fault:
            case "killed":
                os.kill(pid, signal.SIGKILL)
            case "stopped":
                await _stop(pid, seconds)
            case "slowed":
                for _ in range(10):
                    await _stop(pid, seconds / 12)
                    await asyncio.sleep(seconds / 60)


async def _stop(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def table(done: Counter[tuple[str, str]], parts: Sequence[str]) -> str:
    """How often each fault befell each part, a line a part."""
    rows = [
        f"{part:<12}" + ", ".join(f"{fault} {done[part, fault]}" for fault in FAULTS)
        for part in parts
    ]
    return "\n".join(rows)
