"""Fixed words, spoken into a call before the session says anything."""

from __future__ import annotations

import asyncio
import logging

from agent.telephony.transport import TelephoneTransport
from agent.work import Engines
from tts.engine import TtsError

log = logging.getLogger("onebreath.telephony")


async def announce(text: str, engines: Engines, transport: TelephoneTransport) -> None:
    """Queue ``text`` as it is being spoken; ends early when the caller interrupts it."""
    generation = transport.generation
    try:
        chunks = engines.tts.speak(text)
        loop = asyncio.get_running_loop()
        while chunk := await loop.run_in_executor(engines.voices, next, chunks, None):
            if transport.generation != generation:
                break
            transport.play(chunk.samples, chunk.rate)
        await loop.run_in_executor(engines.voices, chunks.close)
    except TtsError as error:
        log.error("the announcement cannot be spoken: %s", error)
