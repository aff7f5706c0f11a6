"""aiortc: a caller in Python, with httpx for the offer and a websocket beside the call."""

from __future__ import annotations

import array
import asyncio
import json
import os
import sys
import tempfile
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer, MediaRecorder
from report import feature, main, question
from websockets.asyncio.client import connect

URL = f"http://{sys.argv[1]}"
KEY = os.environ["OPENAI_API_KEY"]
BEARER = {"Authorization": f"Bearer {KEY}"}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


class Call:
    """One call: its peer connection, its events, and files for what is said and heard."""

    def __init__(self, folder: Path, speaks: bool) -> None:
        self.heard = folder / "heard.wav"
        self.id = ""
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = asyncio.Event()
        self._peer = RTCPeerConnection()
        self._recorder = MediaRecorder(str(self.heard))
        self._player = MediaPlayer(str(_microphone(folder, speaks)))
        self._peer.addTrack(self._player.audio)
        self._peer.on("track", self._recorder.addTrack)
        self._channel = self._peer.createDataChannel("oai-events")
        self._channel.on("message", lambda text: self.events.put_nowait(json.loads(text)))
        self._channel.on("close", self.closed.set)

    async def open(self) -> None:
        """Offer, and take the answer."""
        await self._peer.setLocalDescription(await self._peer.createOffer())
        headers = {**BEARER, "Content-Type": "application/sdp"}
        async with httpx.AsyncClient() as web:
            answer = await web.post(
                f"{URL}/v1/realtime/calls",
                params={"model": "gpt-realtime"},
                content=self._peer.localDescription.sdp,
                headers=headers,
            )
        answer.raise_for_status()
        self.id = answer.headers["Location"].rsplit("/", 1)[-1]
        await self._peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        await self._recorder.start()
        await self.until("session.created")

    async def until(self, kind: str) -> dict[str, Any]:
        """The next event of this type; an error event is raised."""
        while True:
            event = await self.events.get()
            if event["type"] == "error":
                raise RuntimeError(event["error"]["message"])
            if event["type"] == kind:
                return event

    async def until_said(self, expected: str) -> None:
        """Wait for a response of these words."""
        while _words(await self.until("response.done")) != expected:
            pass

    def send(self, kind: str, **body: Any) -> None:
        self._channel.send(json.dumps({"type": kind, **body}))

    def type(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self.send("conversation.item.create", item=item)
        self.send("response.create")

    async def close(self) -> None:
        await self._recorder.stop()
        await self._peer.close()


def _words(done: dict[str, Any]) -> str:
    output = done["response"]["output"]
    part = output[0].get("content", [{}])[0] if output else {}
    return part.get("transcript") or part.get("text") or ""


def _microphone(folder: Path, speaks: bool) -> Path:
    """A recording to send: silence, with a question in it if the caller speaks."""
    file = folder / "microphone.wav"
    with wave.open(str(file), "wb") as sound:
        sound.setparams((1, 2, 24_000, 0, "NONE", ""))
        sound.writeframes(bytes(48_000) + (question() if speaks else b"") + bytes(480_000))
    return file


@asynccontextmanager
async def call(speaks: bool = False) -> AsyncIterator[Call]:
    with tempfile.TemporaryDirectory() as folder:
        made = Call(Path(folder), speaks)
        try:
            await made.open()
            yield made
        finally:
            await made.close()


@feature("spoken question and answer")
async def spoken() -> None:
    async with call(speaks=True) as it:
        await it.until_said("Fine, thank you.")
        await it.until("output_audio_buffer.stopped")
        await asyncio.sleep(0.3)
        await it.close()
        with wave.open(str(it.heard)) as heard:
            samples = array.array("h", heard.readframes(heard.getnframes()))
        assert max(map(abs, samples)) > 1000, "nothing was heard"


@feature("typed text")
async def typed() -> None:
    async with call() as it:
        it.type("hello")
        await it.until_said("Good day.")


@feature("tools")
async def tools() -> None:
    async with call() as it:
        it.send("session.update", session={"type": "realtime", "tools": [WEATHER]})
        await it.until("session.updated")
        it.type("is it cold")
        done = await it.until("response.function_call_arguments.done")
        assert json.loads(done["arguments"]) == {"city": "Oslo"}
        output = {"type": "function_call_output", "call_id": done["call_id"], "output": "3 C"}
        it.send("conversation.item.create", item=output)
        it.send("response.create")
        await it.until_said("Yes, it is three degrees.")


@feature("client interrupts")
async def interrupts() -> None:
    async with call() as it:
        it.type("a story")
        await it.until("output_audio_buffer.started")
        it.send("output_audio_buffer.clear")
        await it.until("output_audio_buffer.cleared")
        it.type("how are you")
        await it.until_said("Fine, thank you.")


@feature("hang-up")
async def hang_up() -> None:
    async with call() as it, httpx.AsyncClient(headers=BEARER) as web:
        answer = await web.post(f"{URL}/v1/realtime/calls/{it.id}/hangup")
        answer.raise_for_status()
        await it.closed.wait()


@feature("sideband")
async def sideband() -> None:
    """A backend joins the call by its id, sets the session and answers its functions."""
    address = f"{URL.replace('http', 'ws')}/v1/realtime?call_id="
    async with call() as it, connect(address + it.id, additional_headers=BEARER) as line:

        async def until(kind: str) -> dict[str, Any]:
            while (event := json.loads(await line.recv()))["type"] != kind:
                pass
            return dict(event)

        session = {"type": "realtime", "tools": [WEATHER]}
        await line.send(json.dumps({"type": "session.update", "session": session}))
        await until("session.updated")
        it.type("is it cold")
        done = await until("response.function_call_arguments.done")
        output = {"type": "function_call_output", "call_id": done["call_id"], "output": "3 C"}
        await line.send(json.dumps({"type": "conversation.item.create", "item": output}))
        await line.send(json.dumps({"type": "response.create"}))
        await it.until_said("Yes, it is three degrees.")


main()
