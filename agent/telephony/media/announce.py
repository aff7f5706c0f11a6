"""Fixed words, spoken into a call before the session says anything."""

from __future__ import annotations

import asyncio
import logging

from agent.runtime.engine_tasks import Engines
from agent.telephony.media.transport import TelephoneTransport
from tts.engine import TtsError
from tts.speakable import speakable

log = logging.getLogger("onebreath.telephony")

ANNOUNCE_SECONDS = 60.0
"""An announcement that was not heard by then is given up."""


async def announce(text: str, engines: Engines, transport: TelephoneTransport) -> bool:
    """Queue ``text`` as it is being spoken; False if the voice failed or it was interrupted."""
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


async def announce_alone(text: str, engines: Engines, transport: TelephoneTransport) -> bool:
    """Speak ``text`` to its end, deaf to the caller; False if it was not heard."""
    transport.deaf = True
    try:
        async with asyncio.timeout(ANNOUNCE_SECONDS):
            if not await announce(text, engines, transport):
                return False
            await transport.all_heard()
    except TimeoutError:
        log.error("the announcement was not heard within %.0f s", ANNOUNCE_SECONDS)
        return False
    finally:
        transport.deaf = False
    return not transport.over
