"""The voice half of tau2-bench: its first messages, its ticks, and a task with a function.

The harness speaks and hears mu-law in ticks of 200 ms, each in packets of 20 ms; what it did not
play in a tick it plays in the next, and at `speech_started` it drops that and sends a truncation.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from report import feature, main, note_version, pieces
from websockets.asyncio.client import connect

URL = f"ws://{sys.argv[1]}/v1/realtime?model=gpt-realtime-1.5"
RATE = 8000
TICK, PACKET = RATE // 5, RATE // 50
SILENCE = b"\x7f"
POLICY = "As a retail agent, you can help users cancel or modify pending orders. " * 110
"""As long as the longest policy of the benchmark's domains."""


def _tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": sorted(properties)}
    about = f"{name}.\n\n" + "The order will be changed once the user has confirmed it. " * 8
    return {"type": "function", "name": name, "description": about, "parameters": schema}


TEXT = {"type": "string", "title": "Text", "description": "Such as '#W0000000'."}
TOOLS = [
    _tool("get_weather", city=TEXT),
    _tool("calculate", expression=TEXT),
    _tool("exchange_items", order_id=TEXT, item_ids={"type": "array", "items": TEXT}),
    _tool("transfer_to_human_agents", summary=TEXT),
]


def session(beta: bool, modality: str) -> dict[str, Any]:
    """The session of the harness: as it is today, and in the beta's form as it was before."""
    vad = {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
    }
    words = {"model": "gpt-4o-transcribe", "language": "en"}
    noise = {"type": "near_field"}
    common: dict[str, Any] = {"instructions": POLICY, "tools": TOOLS, "tool_choice": "auto"}
    if beta:
        common |= {"modalities": ["text", "audio"], "voice": "alloy", "turn_detection": vad}
        common |= {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}
        common |= {"input_audio_transcription": words, "input_audio_noise_reduction": noise}
        return common
    sound = {"type": "audio/pcmu"}
    taken = {"format": sound, "transcription": words, "noise_reduction": noise}
    audio: dict[str, Any] = {"input": {**taken, "turn_detection": vad}}
    if modality == "audio":
        audio["output"] = {"format": sound, "voice": "alloy"}
    common |= {"type": "realtime", "output_modalities": [modality], "audio": audio}
    return {**common, "reasoning": {"effort": "low"}}


class Harness:
    """One simulation: the user's sound in ticks, the agent's sound and functions out."""

    def __init__(self, line: Any) -> None:
        self._line = line
        self._to_say = b""
        self._unplayed: list[tuple[str, bytes]] = []
        self._skipped = ""
        self.played = b""
        self.words = ""
        self.results: list[str] = []
        self.truncations: list[int] = []
        self.seen: list[str] = []

    def say(self, sound: bytes) -> None:
        self._to_say += sound

    async def configure(self, beta: bool, modality: str) -> dict[str, Any]:
        """Set the session; an error ends the simulation."""
        assert (await self._next())["type"] == "session.created"
        await self._send("session.update", session=session(beta, modality))
        while (event := await self._next())["type"] != "session.updated":
            assert event["type"] != "error", event
        return dict(event["session"])

    async def tick(self) -> None:
        """200 ms of the simulation."""
        for call_id in self.results[:]:
            self.results.remove(call_id)
            output = {"type": "function_call_output", "call_id": call_id, "output": "3 C"}
            await self._send("conversation.item.create", item=output)
            await self._send("response.create")
        said = self._to_say[:TICK].ljust(TICK, SILENCE)
        self._to_say = self._to_say[TICK:]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._speak(said))
            group.create_task(self._listen(0.2))
        heard = b"".join(piece for _, piece in self._unplayed)
        item = self._unplayed[-1][0] if self._unplayed else ""
        self.played += heard[:TICK]
        self._unplayed = [(item, heard[TICK:])] if heard[TICK:] else []

    async def _speak(self, sound: bytes) -> None:
        for packet in pieces(sound, PACKET):
            audio = base64.b64encode(packet).decode()
            await self._send("input_audio_buffer.append", audio=audio)
            await asyncio.sleep(0.02)

    async def _listen(self, seconds: float) -> None:
        ends = asyncio.get_running_loop().time() + seconds
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            try:
                event = await asyncio.wait_for(self._next(), min(left, 0.01))
            except TimeoutError:
                continue
            await self._take(event)

    async def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        self.seen.append(kind)
        assert kind != "error", event
        if kind == "response.output_audio.delta" and event["item_id"] != self._skipped:
            self._unplayed.append((event["item_id"], base64.b64decode(event["delta"])))
        elif kind in ("response.output_audio_transcript.delta", "response.output_text.delta"):
            self.words += event["delta"]
        elif kind == "response.function_call_arguments.done":
            assert json.loads(event["arguments"]) == {"city": "Oslo"}
            assert event["name"] == "get_weather"
            self.results.append(event["call_id"])
        elif kind == "input_audio_buffer.speech_started" and self._unplayed:
            self._skipped = self._unplayed[-1][0]
            self._unplayed.clear()
            await self._truncate(self._skipped, len(self.played) * 1000 // RATE)

    async def _truncate(self, item_id: str, end: int) -> None:
        self.truncations.append(end)
        place = {"item_id": item_id, "content_index": 0}
        await self._send("conversation.item.truncate", **place, audio_end_ms=end)

    async def _send(self, kind: str, **body: Any) -> None:
        await self._line.send(json.dumps({"type": kind, **body}))

    async def _next(self) -> dict[str, Any]:
        return dict(json.loads(await self._line.recv()))


def tone(pitch: int, seconds: float = 1.0) -> bytes:
    """A loud tone in mu-law."""
    peak, zero = 0x90, 0xFF
    return bytes(
        (peak if wave > 0 else peak & 0x7F) if abs(wave) > 0.3 else zero
        for wave in (math.sin(2 * math.pi * pitch * n / RATE) for n in range(int(seconds * RATE)))
    )


@asynccontextmanager
async def simulation(beta: bool = False, modality: str = "audio") -> AsyncIterator[Harness]:
    headers = {"Authorization": "Bearer none"}
    async with connect(URL, additional_headers=headers) as line:
        made = Harness(line)
        settled = await made.configure(beta, modality)
        assert settled["instructions"] == POLICY
        assert [tool["name"] for tool in settled["tools"]] == [tool["name"] for tool in TOOLS]
        assert settled["audio"]["input"]["format"]["type"] == "audio/pcmu"
        yield made


note_version("a2c0247")


@feature("spoken question and answer")
async def spoken() -> None:
    async with simulation() as it:
        it.say(SILENCE * TICK + tone(220))
        while "Fine, thank you." not in it.words or len(it.played) < TICK:
            await it.tick()


@feature("text-only replies")
async def text_only() -> None:
    async with simulation(modality="text") as it:
        it.say(SILENCE * TICK + tone(220))
        while "Fine, thank you." not in it.words:
            await it.tick()
        assert not it.played


@feature("tools")
async def task() -> None:
    """A spoken request, the function that it needs, its output, and the spoken answer."""
    async with simulation() as it:
        it.say(SILENCE * TICK + tone(440))
        while "three degrees" not in it.words or len(it.played) < TICK:
            await it.tick()
        it.say(tone(220))
        while "Fine, thank you." not in it.words:
            await it.tick()


@feature("barge-in")
async def barge_in() -> None:
    """The user speaks while the agent does: a truncation in the harness's way, then an answer."""
    async with simulation() as it:
        it.say(SILENCE * TICK + tone(330))
        while len(it.played) < 4 * TICK:
            await it.tick()
        it.say(tone(220))
        while "Fine, thank you." not in it.words:
            await it.tick()
        assert it.truncations
        assert "conversation.item.truncated" in it.seen


@feature("the API's beta")
async def beta() -> None:
    async with simulation(beta=True) as it:
        it.say(SILENCE * TICK + tone(220))
        while "Fine, thank you." not in it.words:
            await it.tick()


main()
