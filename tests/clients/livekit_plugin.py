"""livekit-plugins-openai: an AgentSession with the Realtime model, without a room."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities
from livekit.plugins.openai.realtime import RealtimeModel
from report import feature, main, pieces, question

URL = f"http://{sys.argv[1]}/v1"
RATE = 24_000
asked: list[str] = []


EXPERT = "You are the expert."


@function_tool
async def transfer_to_expert() -> Any:
    """Transfer to the expert."""
    return Agent(instructions=EXPERT), "transferred"


@function_tool
async def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: name of the city
    """
    asked.append(city)
    return "3 C"


class Microphone(AudioInput):
    """Speaks one question, then silence, in real time."""

    def __init__(self) -> None:
        super().__init__(label="microphone")
        self._sound = iter(pieces(question(), RATE // 50 * 2))

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.sleep(0.02)
        data = next(self._sound, bytes(RATE // 50 * 2))
        return rtc.AudioFrame(data, RATE, 1, len(data) // 2)


class Loudspeaker(AudioOutput):
    """Plays at once what it is given."""

    def __init__(self) -> None:
        super().__init__(
            label="loudspeaker",
            capabilities=AudioOutputCapabilities(pause=False),
            next_in_chain=None,
            sample_rate=RATE,
        )
        self.seconds = 0.0
        self._segment = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self.seconds += frame.duration
        self._segment += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._segment:
            self.on_playback_finished(playback_position=self._segment, interrupted=False)
            self._segment = 0.0

    def clear_buffer(self) -> None:
        if self._segment:
            self.on_playback_finished(playback_position=self._segment, interrupted=True)
            self._segment = 0.0


@asynccontextmanager
async def session(speaks: bool = False, **options: Any) -> AsyncIterator[Any]:
    """A session that is started, with a loudspeaker and, if ``speaks``, a microphone."""
    model = RealtimeModel(base_url=URL, api_key="none", **options)
    agent = Agent(instructions="You are kind. " * 400, tools=[get_weather, transfer_to_expert])
    opened: Any = AgentSession(llm=model)
    errors: list[Any] = []
    opened.on("error", lambda event: errors.append(event.error))
    opened.output.audio = opened.loudspeaker = Loudspeaker()
    if speaks:
        opened.input.audio = Microphone()
    await opened.start(agent)
    try:
        yield opened
    finally:
        await opened.aclose()
    assert not errors, errors


def said(opened: Any) -> list[str]:
    """What the agent has said."""
    items = opened.history.items
    return [item.text_content for item in items if getattr(item, "role", "") == "assistant"]


async def until_said(opened: Any, words: str) -> None:
    while words not in said(opened):
        await asyncio.sleep(0.02)


@feature("speaks first")
async def speaks_first() -> None:
    async with session() as opened:
        await opened.generate_reply(instructions="Say hello to the caller.")
        await until_said(opened, "Good day.")
        assert opened.loudspeaker.seconds > 0.1


@feature("typed text")
async def typed() -> None:
    async with session() as opened:
        await opened.generate_reply(user_input="how are you")
        await until_said(opened, "Fine, thank you.")
        await opened.generate_reply(user_input="how are you")
        assert said(opened).count("Fine, thank you.") == 2


@feature("tools")
async def tools() -> None:
    async with session() as opened:
        await opened.generate_reply(user_input="is it cold")
        await until_said(opened, "Yes, it is three degrees.")
        assert asked == ["Oslo"]


@feature("spoken question and answer")
async def spoken() -> None:
    async with session(speaks=True) as opened:
        await until_said(opened, "Fine, thank you.")
        assert opened.loudspeaker.seconds > 0.1


@feature("text-only replies")
async def text_only() -> None:
    async with session(modalities=["text"]) as opened:
        opened.output.audio = None
        await opened.generate_reply(user_input="how are you")
        await until_said(opened, "Fine, thank you.")


@feature("client interrupts")
async def interrupts() -> None:
    async with session() as opened:
        speech = opened.generate_reply(user_input="a story")
        while not opened.loudspeaker.seconds:
            await asyncio.sleep(0.01)
        await opened.interrupt()
        await speech
        await opened.generate_reply(user_input="how are you")
        await until_said(opened, "Fine, thank you.")


@feature("handoff")
async def handoff() -> None:
    """Another agent takes over: items are deleted and written anew, the settings change."""
    async with session() as opened:
        await opened.generate_reply(user_input="the expert, please")
        while opened.current_agent.instructions != EXPERT:
            await asyncio.sleep(0.02)
        await until_said(opened, "You said: transferred")
        await asyncio.sleep(1)  # until the agent's speech is played and its turn over
        await opened.generate_reply(user_input="how are you")
        await until_said(opened, "Fine, thank you.")


main()
