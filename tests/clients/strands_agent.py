"""strands-agents: a BidiAgent with its OpenAI Realtime model."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from report import feature, main, pieces, question
from strands import tool
from strands.bidi import BidiAgent
from strands.bidi.models.openai import realtime
from strands.bidi.types.media import AudioDelta

# The model's address is a constant of its module.
realtime.OPENAI_REALTIME_URL = f"ws://{sys.argv[1]}/v1/realtime"
RATE = 24_000
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)
"""A picture of one pixel."""


@tool
def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: name of the city
    """
    return "3 C"


class Heard:
    """What an agent has said and heard."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.bytes = 0

    async def follow(self, agent: Any) -> None:
        async for event in agent.receive():
            kind = event.get("type")
            if kind == "bidi_transcript_block":
                (self.asked if event.role == "user" else self.said).append(event.transcript)
            elif kind == "bidi_audio_delta":
                self.bytes += len(event.audio)

    async def until(self, words: str) -> None:
        while not any(words in text for text in self.said):
            await asyncio.sleep(0.02)


@asynccontextmanager
async def agent(**options: Any) -> AsyncIterator[tuple[Any, Heard]]:
    model = realtime.OpenAIRealtimeModel(
        model_id="gpt-realtime",
        transcription_model_id="gpt-4o-transcribe",
        api_key=os.environ["OPENAI_API_KEY"],
    )
    made = BidiAgent(model=model, system_prompt="You are kind.", **options)
    heard = Heard()
    await made.start()
    following = asyncio.create_task(heard.follow(made))
    try:
        yield made, heard
        assert not following.done(), following.exception()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await made.stop()


async def speak(made: Any, sound: bytes) -> None:
    for piece in pieces(sound, RATE // 50 * 2):
        await made.send(AudioDelta(format="pcm", source={"bytes": piece}))
        await asyncio.sleep(0.01)


@feature("spoken question and answer")
async def spoken() -> None:
    async with agent() as (made, heard):
        await speak(made, question())
        await heard.until("Fine, thank you.")
        assert heard.bytes
        assert heard.asked == ["how are you"]


@feature("typed text")
async def typed() -> None:
    async with agent() as (made, heard):
        await made.send("how are you")
        await heard.until("Fine, thank you.")


@feature("pictures beside words")
async def pictures() -> None:
    async with agent() as (made, heard):
        picture = {"image": {"format": "png", "source": {"bytes": DOT}}}
        await made.send([{"text": "how are you"}, picture])
        await heard.until("Fine, thank you.")


@feature("tools")
async def tools() -> None:
    async with agent(tools=[get_weather]) as (made, heard):
        await made.send("is it cold")
        await heard.until("three degrees")


main()
