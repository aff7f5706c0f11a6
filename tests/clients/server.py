"""The real server with scripted engines, for clients of other projects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from support.fakes import LoudIsSpeech

from agent.compute import Compute
from agent.config.settings import Settings
from agent.reply import ToolCall
from agent.responders.scripted import Line, ScriptedResponder
from agent.runtime.engine_tasks import Engines
from agent.server.app import listen, serve
from asr.engine import RATE, Samples
from asr.recording import Recording
from asr.scripted import Script, ScriptedListening, ScriptedTranscriber
from tts.tone import ToneSynthesizer

STORY = "Once upon a time " + "there was a fox who ran and ran " * 30
LINES: tuple[tuple[str, Line], ...] = (
    ("how are you", "Fine, thank you."),
    ("is it cold", ToolCall("", "get_weather", '{"city": "Oslo"}')),
    ("3 C", "Yes, it is three degrees."),
    ("expert, please", ToolCall("", "transfer_to_expert", "{}")),
    ("assistant", "The expert is here."),
    ("a story", STORY),
    ("forbidden", "This has the word banana in it."),
    ("hello", "Good day."),
)
"""Replies by a part of the last words, the first that fits."""


def reply(words: str) -> Line:
    """The scripted reply to ``words``."""
    found = (line for part, line in LINES if part.lower() in words.lower())
    return next(found, f"You said: {words}")


PITCHES = {440: "is it cold", 330: "a story"}
"""Words by the pitch in Hz of the tone that a caller speaks in."""


class Listening(ScriptedListening):
    """Hears words by the pitch of a turn, "how are you" where it is none of those."""

    def feed(self, samples: Samples) -> None:
        super().feed(samples)
        loud = samples[np.abs(samples) > 0.05]
        if len(loud) < RATE // 50:
            return
        spectrum = np.abs(np.fft.rfft(samples, RATE))
        words = PITCHES.get(round(int(spectrum.argmax()), -1))
        if words is not None:
            self._script = _at_once(words)


class PitchedWords(ScriptedTranscriber):
    """Hears words by the pitch of a tone."""

    def listen(self) -> ScriptedListening:
        return Listening(_at_once("how are you"), Recording(120.0))


def _at_once(words: str) -> Script:
    return [(1, word) for word in words.split()]


@asynccontextmanager
async def scripted_server(
    certificate: Path | None = None, key: Path | None = None, key_hash: str | None = None
) -> AsyncIterator[str]:
    """A server on loopback; yields its ``host:port``.

    Args:
        certificate, key: files for TLS.
        key_hash: hash of the API key that it needs.
    """
    keys = {} if key_hash is None else {"test": {"hash": key_hash}}
    server = {"max_calls": 8, "certificate": certificate, "key": key, "api_keys": keys}
    settings = Settings(server=server, webrtc={"ice_hosts": ["127.0.0.1"]})
    engines = Engines(
        PitchedWords(),
        ScriptedResponder(reply),
        ToneSynthesizer(),
        LoudIsSpeech,
        Compute(),
        ThreadPoolExecutor(2),
    )
    sock = listen("127.0.0.1", 0)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, engines, sock, ready.set))
    try:
        await asyncio.wait_for(ready.wait(), 20)
        yield f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        engines.compute.close()
        engines.voices.shutdown()
