"""Fixed words, spoken into a call before the session says anything."""

from __future__ import annotations

import asyncio
import logging

from agent.runtime.engine_tasks import Engines
from agent.telephony.media.transport import TelephonyTransport
from tts.engine import TtsError
from tts.speakable import speakable

log = logging.getLogger("onebreath.telephony")

ANNOUNCE_SECONDS = 60.0
"""Seconds after which an announcement that was not played to its end is given up."""


async def announce(text: str, engines: Engines, transport: TelephonyTransport) -> bool:
    """Queue ``text`` chunk by chunk as the voice speaks it.

    Returns:
        False if the voice failed or the caller interrupted.
    """
    generation = transport.generation
    try:
        chunks = engines.tts.speak(speakable(text).text)
        step = engines.voices.submit(next, chunks, None)
        try:
            while (chunk := await asyncio.wrap_future(step)) is not None:
                if transport.generation != generation:
                    return False
                transport.play(chunk.samples, chunk.rate)
                step = engines.voices.submit(next, chunks, None)
        finally:
            # A generator cannot be closed while it runs on its thread.
            step.add_done_callback(lambda _: chunks.close())
    except TtsError as error:
        log.error("the announcement cannot be spoken: %s", error)
        return False
    return transport.generation == generation


async def announce_alone(text: str, engines: Engines, transport: TelephonyTransport) -> bool:
    """Play ``text`` to its end, while the caller's audio is dropped.

    Returns:
        False if it was not played to its end.
    """
    transport.deaf = True
    try:
        async with asyncio.timeout(ANNOUNCE_SECONDS):
            if not await announce(text, engines, transport):
                return False
            await transport.all_played()
    except TimeoutError:
        log.error("the announcement was not played within %.0f s", ANNOUNCE_SECONDS)
        return False
    finally:
        transport.deaf = False
    return not transport.over
