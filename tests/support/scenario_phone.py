"""The caller's end of a scenario: microphone, ear, and a log of what the server sent."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.audio.samples import AUDIBLE_DBFS, first_above, from_pcm16, last_above, to_pcm16
from agent.latency.call_audio import CallAudio
from agent.protocol import WIRE_RATE
from support.tone_language import Samples, ToneLanguage

FRAME = WIRE_RATE // 50
PATIENCE_SECONDS = 60.0
"""So long a step waits for what it expects."""
AN_EARFUL = 0.9
"""A word of which less was heard was not heard."""


class Unmet(Exception):
    """What a step waits for does not come."""


@dataclass
class HeardReply:
    """One reply, as it reached the caller."""

    id: str
    item_id: str = ""
    status: str | None = None
    stopped: bool = False
    said: str = ""
    """What the server says was heard."""
    pieces: list[tuple[int, int]] = field(default_factory=list)
    """Places of its sound on the ear's timeline, in samples."""
    text_only: bool = False
    topic: str = ""
    """Of its metadata."""

    @property
    def over(self) -> bool:
        return self.status is not None


class Phone:
    """One end of the line.

    Args:
        send: takes an event, as JSON, to the server.
        echo: dB at which the microphone hears what is played; None: not at all.
    """

    def __init__(
        self, send: Callable[[str], Awaitable[None]], tongue: ToneLanguage, echo: float | None
    ) -> None:
        self.audio = CallAudio(WIRE_RATE)
        self.log: list[tuple[float, dict[str, Any]]] = []
        self.replies: dict[str, HeardReply] = {}
        self.apart: dict[str, HeardReply] = {}
        """Replies of words outside the conversation, beside the others."""
        self.faults: list[str] = []
        """What no server may do in any conversation."""
        self.muted = False
        self.reads = True
        self.yields = True
        """Whether the player stops when the caller speaks; not if he asked the agent to go on."""
        self.close_code: int | None = None
        self._send = send
        self._tongue = tongue
        self._echo = None if echo is None else 10 ** (echo / 20)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._changed = asyncio.Event()
        self._over = False

    @property
    def now(self) -> float:
        """Seconds since the call began."""
        return self._loop.time() - self._began

    @property
    def over(self) -> bool:
        return self._over

    def end(self) -> None:
        """The call is over."""
        self._over = True
        self._changed.set()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until ``condition`` holds.

        Raises:
            Unmet: it does not, within a minute or before the call is over.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    if self._over:
                        raise Unmet(f"the call was over before {what}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Unmet(f"{PATIENCE_SECONDS:.0f} s went by without {what}") from None

    # ---- to the server -------------------------------------------------------------

    async def tell(self, kind: str, **body: Any) -> None:
        await self._send(json.dumps({"type": kind, **body}))

    async def speak(self) -> None:
        """The microphone: every frame is sent at the moment its last sample was spoken."""
        spoken = 0
        while not self._over:
            spoken += FRAME
            await asyncio.sleep(max(0.0, spoken / WIRE_RATE - self.now))
            frame = self.audio.next_frame(FRAME) + self._echo_of(spoken - FRAME)
            if not self.muted:
                audio = base64.b64encode(to_pcm16(frame)).decode("ascii")
                await self.tell("input_audio_buffer.append", audio=audio)
            self._changed.set()

    def _echo_of(self, start: int) -> Samples | float:
        if self._echo is None:
            return 0.0
        heard = self.audio.ear[start : start + FRAME]
        return self._echo * np.pad(heard, (0, FRAME - len(heard)))

    # ---- from the server -----------------------------------------------------------

    def take(self, event: dict[str, Any]) -> None:
        """An event arrives."""
        self.log.append((self.now, event))
        match event["type"]:
            case "response.created":
                self._reply_begins(event["response"])
            case "response.done" if event["response"]["id"] in self.apart:
                self._read(self.apart[event["response"]["id"]], event["response"])
            case _ if event.get("response_id") in self.apart:
                pass
            case "response.output_item.added":
                self.replies[event["response_id"]].item_id = event["item"]["id"]
            case "response.output_audio.delta":
                self._hear(event)
            case "onebreath.playback.stop":
                self.replies[event["response_id"]].stopped = True
                self._silence()
            case "input_audio_buffer.speech_started" if self.yields:
                # What every client of this protocol does: the caller speaks, so be silent.
                self._silence()
            case "session.updated":
                detection = event["session"]["audio"]["input"]["turn_detection"] or {}
                self.yields = detection.get("interrupt_response", True)
            case "response.done":
                self._reply_ends(event["response"])
        self._changed.set()

    def _reply_begins(self, response: dict[str, Any]) -> None:
        response_id = response["id"]
        text_only = response["output_modalities"] == ["text"]
        if text_only and response["conversation_id"] is None:
            topic = response["metadata"]["topic"]
            self.apart[response_id] = HeardReply(response_id, text_only=True, topic=topic)
            return
        if any(not reply.over for reply in self.replies.values()):
            self.faults.append(f"{response_id} began while another reply ran")
        if response_id in self.replies:
            self.faults.append(f"{response_id} began twice")
        self.replies[response_id] = HeardReply(response_id, text_only=text_only)

    def _hear(self, event: dict[str, Any]) -> None:
        reply = self.replies[event["response_id"]]
        if reply.over or reply.stopped:
            self.faults.append(f"sound of {reply.id} after its end, at {self.now:.3f} s")
        sound = from_pcm16(base64.b64decode(event["delta"]))
        start = max(int(self.now * WIRE_RATE), round(self.audio.silent_from() * WIRE_RATE))
        self.audio.play(sound, self.now)
        reply.pieces.append((start, start + len(sound)))

    def _silence(self) -> None:
        now = int(self.now * WIRE_RATE)
        self.audio.stop(self.now)
        for reply in self.replies.values():
            reply.pieces = [(start, min(end, now)) for start, end in reply.pieces if start < now]

    def _reply_ends(self, response: dict[str, Any]) -> None:
        self._read(self.replies[response["id"]], response)

    def _read(self, reply: HeardReply, response: dict[str, Any]) -> None:
        if reply.over:
            self.faults.append(f"{reply.id} ended twice")
        reply.status = response["status"]
        parts = [part for item in response["output"] for part in item["content"]]
        key = "text" if reply.text_only else "transcript"
        reply.said = " ".join(part[key] for part in parts).strip()

    # ---- what was heard ------------------------------------------------------------

    @property
    def newest(self) -> HeardReply | None:
        return next(reversed(self.replies.values()), None)

    def played(self, reply: HeardReply) -> float:
        """Seconds of the reply that passed the ear by now."""
        now = self.now * WIRE_RATE
        return sum(max(0.0, min(end, now) - start) for start, end in reply.pieces) / WIRE_RATE

    def sound_of(self, reply: HeardReply) -> tuple[int, Samples]:
        """Place and sound of a reply on the ear's timeline."""
        if not reply.pieces:
            return 0, np.zeros(0, np.float32)
        start, end = reply.pieces[0][0], reply.pieces[-1][1]
        return start, self.audio.ear[start:end]

    def words_of(self, reply: HeardReply) -> str:
        if reply.text_only:
            return reply.said
        return self._words(self.sound_of(reply)[1])

    def all_words(self) -> str:
        return self._words(self.audio.ear)

    def _words(self, sound: Samples) -> str:
        heard = self._tongue.read(sound, WIRE_RATE, whole=AN_EARFUL)
        return " ".join(word.text for word in heard)

    def first_sound(self, reply: HeardReply) -> int | None:
        start, sound = self.sound_of(reply)
        audible = first_above(sound, AUDIBLE_DBFS)
        return None if audible is None else start + audible

    def last_sound(self, reply: HeardReply) -> int | None:
        start, sound = self.sound_of(reply)
        audible = last_above(sound, AUDIBLE_DBFS)
        return None if audible is None else start + audible
