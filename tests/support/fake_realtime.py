"""The agent with known delays behind a real websocket, in the Realtime protocol.

As a program it prints its port:  python tests/support/fake_realtime.py DELAY_MS [SPREAD_MS]
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agent.audio.samples import from_pcm16, to_pcm16
from agent.latency.connection import (
    ReceivedAudio,
    ReceivedEvent,
    ReceivedReplyEnd,
    ReceivedReplyStart,
    ReceivedSpeechStart,
    ReceivedSpeechStop,
    ReceivedTranscript,
)
from support.fake_agent import FakeConnection, Manner


def _event(arrival: ReceivedEvent) -> dict[str, Any] | None:
    match arrival:
        case ReceivedSpeechStart():
            return {"type": "input_audio_buffer.speech_started"}
        case ReceivedSpeechStop():
            return {"type": "input_audio_buffer.speech_stopped"}
        case ReceivedTranscript(text):
            kind = "conversation.item.input_audio_transcription.completed"
            return {"type": kind, "transcript": text}
        case ReceivedReplyStart():
            return {"type": "response.created"}
        case ReceivedAudio(samples):
            delta = base64.b64encode(to_pcm16(samples)).decode()
            return {"type": "response.output_audio.delta", "delta": delta}
        case ReceivedReplyEnd(text):
            part = {"content": [{"transcript": text}]}
            return {
                "type": "response.done",
                "response": {"status": "completed", "output": [part]},
            }
    return None


def converse(manner: Manner) -> Callable[[ServerConnection], Any]:
    """A handler of connections."""

    async def handler(connection: ServerConnection) -> None:
        wire = FakeConnection(manner)
        telling = asyncio.create_task(_tell(wire, connection))
        try:
            async for message in connection:
                event = json.loads(message)
                if event["type"] == "input_audio_buffer.append":
                    await wire.send(from_pcm16(base64.b64decode(event["audio"])))
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await wire.close()

    return handler


async def _tell(wire: FakeConnection, connection: ServerConnection) -> None:
    try:
        async for arrival in wire.receive():
            event = _event(arrival)
            if event is not None:
                await connection.send(json.dumps(event))
    except ConnectionClosed:
        return


@asynccontextmanager
async def serving(manner: Manner) -> AsyncIterator[str]:
    """Gives the address."""
    async with serve(converse(manner), "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/realtime"


async def _main(delay: float, spread: float) -> None:
    drawn = random.Random(0)
    manner = Manner(lambda turn: max(0.0, drawn.gauss(delay, spread)), reply=0.1)
    async with serving(manner) as address:
        print(address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    words = [float(word) / 1000 for word in sys.argv[1:]]
    asyncio.run(_main(words[0], words[1] if len(words) > 1 else 0.0))
