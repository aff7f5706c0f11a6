"""The real server with scripted engines, for telephony calls in tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from agent.compute import Compute
from agent.config.settings import Settings
from agent.reply import ToolCall
from agent.responders.scripted import ScriptedResponder
from agent.runtime.engine_tasks import Engines
from agent.server.app import listen, serve
from agent.tools.toolbox import load_tools
from asr.scripted import ScriptedTranscriber
from support.fakes import LoudIsSpeech
from tts.engine import Synthesizer
from tts.tone import ToneSynthesizer

ANSWERS = {"how are you": "Fine.", "talk": "word " * 200, "again": "Again and again."}
SECTIONS = {
    "public_url": "http://127.0.0.1",
    "twilio": {"auth_token": "0123456789abcdef"},
    "asterisk": {"username": "agent", "password": "s3cret-s3cret"},
}


@asynccontextmanager
async def server(
    *heard: str,
    tts: Synthesizer | None = None,
    max_calls: int = 2,
    answers: Mapping[str, str | ToolCall] = ANSWERS,
    tools: Mapping[str, Any] | None = None,
    **telephony: Any,
) -> AsyncIterator[tuple[str, Engines]]:
    """Address and engines; the recogniser hears one of ``heard`` after the other."""
    settings = Settings(
        server={"max_calls": max_calls}, telephony={**SECTIONS, **telephony}, tools=tools or {}
    )
    words = ScriptedTranscriber([[(1, word) for word in text.split()] for text in heard])
    engines = Engines(
        words,
        ScriptedResponder(answers),
        tts or ToneSynthesizer(),
        LoudIsSpeech,
        Compute(),
        ThreadPoolExecutor(2),
        tools=load_tools(settings.tools),
    )
    sock = listen("127.0.0.1", 0)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(settings, engines, sock, ready.set))
    try:
        async with asyncio.timeout(20):
            await ready.wait()
            yield f"127.0.0.1:{sock.getsockname()[1]}", engines
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        engines.compute.close()
        engines.voices.shutdown()
