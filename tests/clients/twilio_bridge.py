"""openai-agents between a telephone and this server, in the way of the SDK's Twilio example.

A bridge passes Twilio's media frames to a RealtimeSession and back, mu-law both ways; marks tell
the playback tracker what was played, an interruption sends Twilio's `clear`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimePlaybackTracker, RealtimeRunner
from report import feature, main, pieces

URL = f"ws://{sys.argv[1]}/v1/realtime?model=gpt-realtime"
FRAME = 160
"""Bytes of one frame of Twilio's: 20 ms."""
BUFFER = 400
"""Bytes that the bridge collects before it sends: 50 ms."""
SILENCE = b"\xff"
set_tracing_disabled(True)


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return "3 C"


AGENT = RealtimeAgent(name="Telephone", instructions="You answer a telephone.", tools=[get_weather])


class Telephone:
    """Twilio's end of the media stream: plays in real time, and answers marks when it is there."""

    def __init__(self, bridge_takes: Any) -> None:
        self._bridge_takes = bridge_takes
        self._playing: deque[bytes | str] = deque()
        self.played = 0
        self.cleared = 0
        self._spoken: deque[bytes] = deque()

    def say(self, sound: bytes) -> None:
        self._spoken.extend(pieces(sound, FRAME))

    def take(self, message: dict[str, Any]) -> None:
        """A message of the bridge."""
        assert message["streamSid"] == "MZ1"
        if message["event"] == "media":
            self._playing.extend(pieces(base64.b64decode(message["media"]["payload"]), FRAME))
        elif message["event"] == "mark":
            self._playing.append(message["mark"]["name"])
        elif message["event"] == "clear":
            self.cleared += 1
            marks = [entry for entry in self._playing if isinstance(entry, str)]
            self._playing = deque(marks)

    async def run(self) -> None:
        """20 ms of sound both ways, again and again."""
        await self._bridge_takes({"event": "connected"})
        await self._bridge_takes({"event": "start", "start": {"streamSid": "MZ1"}})
        while True:
            await asyncio.sleep(0.02)
            frame = self._spoken.popleft() if self._spoken else SILENCE * FRAME
            payload = base64.b64encode(frame).decode()
            await self._bridge_takes({"event": "media", "media": {"payload": payload}})
            await self._play()

    async def _play(self) -> None:
        while self._playing:
            entry = self._playing.popleft()
            if isinstance(entry, bytes):
                self.played += len(entry)
                return
            await self._bridge_takes({"event": "mark", "mark": {"name": entry}})


class Bridge:
    """Between Twilio's socket and a RealtimeSession."""

    def __init__(self) -> None:
        self.tracker = RealtimePlaybackTracker()
        self.phone = Telephone(self.from_twilio)
        self.session: Any = None
        self.words = ""
        self.errors: list[str] = []
        self.interruptions = 0
        self._stream = ""
        self._to_agent = bytearray()
        self._to_phone = bytearray()
        self._marks: dict[str, tuple[str, int, int]] = {}
        self._unsent_marks: list[str] = []
        self._names = itertools.count()

    async def from_twilio(self, message: dict[str, Any]) -> None:
        if message["event"] == "start":
            self._stream = message["start"]["streamSid"]
        elif message["event"] == "media":
            self._to_agent += base64.b64decode(message["media"]["payload"])
            if len(self._to_agent) >= BUFFER:
                await self.session.send_audio(bytes(self._to_agent))
                self._to_agent.clear()
        elif message["event"] == "mark":
            item_id, index, size = self._marks.pop(message["mark"]["name"])
            self.tracker.on_play_bytes(item_id, index, bytes(size))

    async def from_agent(self) -> None:
        async for event in self.session:
            if event.type == "audio":
                name = str(next(self._names))
                size = len(event.audio.data)
                self._marks[name] = (event.audio.item_id, event.audio.content_index, size)
                self._unsent_marks.append(name)
                self._to_phone += event.audio.data
                if len(self._to_phone) >= BUFFER:
                    self._flush()
            elif event.type == "audio_end":
                self._flush()
            elif event.type == "audio_interrupted":
                self.interruptions += 1
                self._flush()
                self.phone.take({"event": "clear", "streamSid": self._stream})
            elif event.type == "error":
                self.errors.append(str(event.error))
            elif event.type == "raw_model_event" and event.data.type == "transcript_delta":
                self.words += event.data.delta

    def _flush(self) -> None:
        if not self._to_phone:
            return
        payload = base64.b64encode(bytes(self._to_phone)).decode()
        self._send("media", media={"payload": payload})
        for name in self._unsent_marks:
            self._send("mark", mark={"name": name})
        self._to_phone.clear()
        self._unsent_marks.clear()

    def _send(self, kind: str, **body: Any) -> None:
        self.phone.take({"event": kind, "streamSid": self._stream, **body})


@asynccontextmanager
async def bridge() -> AsyncIterator[Bridge]:
    """A call that is up; the settings are those of the example."""
    made = Bridge()
    settings = {
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "g711_ulaw",
        "turn_detection": {
            "type": "semantic_vad",
            "interrupt_response": True,
            "create_response": True,
        },
    }
    model: Any = {
        "url": URL,
        "api_key": "none",
        "initial_model_settings": settings,
        "playback_tracker": made.tracker,
    }
    made.session = await RealtimeRunner(AGENT).run(model_config=model)
    await made.session.enter()
    tasks = [asyncio.create_task(made.phone.run()), asyncio.create_task(made.from_agent())]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await made.session.close()
    assert not made.errors, made.errors


TALK = b"\x10\x90" * 4000
"""A loud second."""


async def until(holds: Any) -> None:
    while not holds():
        await asyncio.sleep(0.02)


@feature("spoken question and answer")
async def spoken() -> None:
    async with bridge() as it:
        it.phone.say(SILENCE * 2000 + TALK)
        await until(lambda: "Fine, thank you." in it.words)
        await until(lambda: it.phone.played > 2000)


@feature("G.711")
async def playback() -> None:
    """The tracker knows how much was played, by the marks."""
    async with bridge() as it:
        it.phone.say(SILENCE * 2000 + TALK)
        await until(lambda: it.tracker.get_state()["elapsed_ms"])
        elapsed = it.tracker.get_state()["elapsed_ms"]
        assert 0 < elapsed <= it.phone.played / 8 + 100, (elapsed, it.phone.played)


@feature("barge-in")
async def barge_in() -> None:
    """The caller speaks into a long reply: Twilio is told to clear, and the call goes on."""
    async with bridge() as it:
        await it.session.send_message("a story")
        await until(lambda: it.phone.played > 4000)
        it.phone.say(TALK + SILENCE * 2000)
        await until(lambda: it.phone.cleared)
        await until(lambda: "Fine, thank you." in it.words)


@feature("client interrupts")
async def interrupts() -> None:
    async with bridge() as it:
        await it.session.send_message("a story")
        await until(lambda: it.phone.played > 4000)
        await it.session.interrupt()
        await until(lambda: it.phone.cleared)
        await it.session.send_message("how are you")
        await until(lambda: "Fine, thank you." in it.words)


@feature("tools")
async def tools() -> None:
    async with bridge() as it:
        await it.session.send_message("is it cold")
        await until(lambda: "three degrees" in it.words)


main()
