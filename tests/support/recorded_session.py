"""A session as the page records it, made by hand: every kind of turn, to the millisecond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

QUESTION = "Why is the sky blue?"
REPLY = "Sunlight is scattered by the air, and blue light is scattered the most of all."
SPEECH_END = 2000.0
FIRST_SOUND = 2780.0
BUDGET = 900


@dataclass
class SessionScript:
    """Collects entries; ``t`` is the time of the next one."""

    t: float = 0.0
    entries: list[dict[str, Any]] = field(default_factory=list)

    def at(self, t: float) -> SessionScript:
        self.t = t
        return self

    def server(self, kind: str, **body: Any) -> SessionScript:
        return self._add("server", kind, body)

    def client(self, kind: str, **body: Any) -> SessionScript:
        return self._add("client", kind, body)

    def page(self, kind: str, **body: Any) -> SessionScript:
        return self._add("page", kind, body)

    def _add(self, sender: str, kind: str, body: dict[str, Any]) -> SessionScript:
        self.entries.append({"t": self.t, "from": sender, "event": {"type": kind, **body}})
        return self

    def text(self) -> str:
        return "".join(json.dumps(entry) + "\n" for entry in self.entries)


def whole_session() -> str:
    """A spoken turn with speculation, a typed one, and one that the caller interrupts."""
    script = SessionScript()
    script.page("page.connecting").at(300)
    script.server("session.created", session={"id": "sess_1", "model": "scripted"})
    script.page("page.connected", transport="webrtc", ms=300)
    script.page("page.clock", round_trip_ms=4.0, server_offset_ms=0.0)
    _spoken(script)
    _typed(script, 8000)
    _interrupted(script, 12000)
    return script.at(16000).page("page.ended", reason="hung up").text()


def _spoken(script: SessionScript) -> None:
    script.at(500).server("input_audio_buffer.speech_started", item_id="item_1")
    script.at(1300).server(
        "onebreath.transcript.partial", item_id="item_1", text="why is the", stable_delta="why is"
    )
    script.at(2304).server("input_audio_buffer.speech_stopped", item_id="item_1")
    script.page("page.speech.ended", item_id="item_1", at=SPEECH_END)
    _heard(script, "item_1", QUESTION)
    _reply_begins(script.at(2320), "resp_1", "item_2")
    for n, step in enumerate(_steps(REPLY, 8)):
        script.at(2330 + 40 * n).server("onebreath.denoise.step", response_id="resp_1", **step)
    _words(script, "resp_1", "item_2", REPLY)
    script.at(2740).server("onebreath.turn.timings", **_timings())
    script.at(2750).page("page.sound.first", response_id="resp_1", at=FIRST_SOUND)
    _done(script.at(7000), "resp_1", "item_2", REPLY, "completed")


def _typed(script: SessionScript, t: float) -> None:
    part = {"type": "input_text", "text": "And at dusk?"}
    item = {"id": "item_3", "role": "user", "content": [part]}
    script.at(t).client("conversation.item.create", item=item)
    script.client("response.create")
    script.at(t + 3).server("conversation.item.added", item=item)
    _reply_begins(script.at(t + 5), "resp_2", "item_4")
    reply = "Then it is red."
    for n, step in enumerate(_steps(reply, 3)):
        script.at(t + 50 + 60 * n).server("onebreath.denoise.step", response_id="resp_2", **step)
    _words(script, "resp_2", "item_4", reply)
    spans = {"endpoint_wait": 0, "asr": 0, "prefill": 40, "denoise": 180, "tts": 90, "transport": 1}
    script.at(t + 320).server(
        "onebreath.turn.timings", response_id="resp_2", spans_ms=spans, speech_end_ms=None
    )
    script.page("page.sound.first", response_id="resp_2", at=t + 360)
    _done(script.at(t + 1800), "resp_2", "item_4", reply, "completed")


def _interrupted(script: SessionScript, t: float) -> None:
    script.at(t).server("input_audio_buffer.speech_started", item_id="item_5")
    script.at(t + 1500).server("input_audio_buffer.speech_stopped", item_id="item_5")
    script.page("page.speech.ended", item_id="item_5", at=t + 1100)
    _heard(script, "item_5", "Tell me more about it.")
    _reply_begins(script.at(t + 1520), "resp_3", "item_6")
    reply = "There is a great deal to tell about scattering."
    for n, step in enumerate(_steps(reply, 4)):
        script.at(t + 1540 + 30 * n).server("onebreath.denoise.step", response_id="resp_3", **step)
    _words(script, "resp_3", "item_6", reply)
    spans = {"endpoint_wait": 400, "asr": 90, "prefill": 30, "denoise": 120, "tts": 80}
    script.at(t + 1830).server(
        "onebreath.turn.timings",
        response_id="resp_3",
        spans_ms={**spans, "transport": 2},
        speech_end_ms=1100,
    )
    script.page("page.sound.first", response_id="resp_3", at=t + 1870)
    script.at(t + 2600).server("onebreath.playback.duck", response_id="resp_3", gain_db=-18)
    script.at(t + 2800).server("onebreath.playback.stop", response_id="resp_3", heard_ms=900)
    script.page("page.silenced", response_id="resp_3")
    script.server("onebreath.notice", code="turns_dropped", message="the oldest turn was dropped")
    _done(script, "resp_3", "item_6", "There is a great", "cancelled")


def _heard(script: SessionScript, item: str, words: str) -> None:
    content = [{"type": "input_audio", "transcript": None}]
    script.server("conversation.item.added", item={"id": item, "role": "user", "content": content})
    script.server(
        "conversation.item.input_audio_transcription.completed", item_id=item, transcript=words
    )


def _reply_begins(script: SessionScript, response: str, item: str) -> None:
    script.server("response.created", response={"id": response, "status": "in_progress"})
    body = {"id": item, "role": "assistant", "content": []}
    script.server("response.output_item.added", response_id=response, item=body)
    script.server("conversation.item.added", item=body)


def _words(script: SessionScript, response: str, item: str, text: str) -> None:
    script.server(
        "response.output_audio_transcript.delta", response_id=response, item_id=item, delta=text
    )


def _done(script: SessionScript, response: str, item: str, heard: str, status: str) -> None:
    content = [{"type": "output_audio", "transcript": heard}]
    output = [{"id": item, "role": "assistant", "content": content}]
    stats = {"tokens": len(heard.split()), "cached_tokens": 120}
    script.server(
        "response.done",
        response={"id": response, "status": status, "output": output, "onebreath": stats},
    )


def _timings() -> dict[str, Any]:
    spans = {"endpoint_wait": 280, "asr": 0, "prefill": 20, "denoise": 300, "tts": 130}
    work = [("asr", 60, 190), ("prefill", 190, 240), ("denoise", 240, 600), ("tts", 560, 730)]
    return {
        "response_id": "resp_1",
        "item_id": "item_2",
        "spans_ms": {**spans, "transport": 4},
        "speech_end_ms": 1600.0,
        "work": [{"stage": s, "start_ms": a, "end_ms": b} for s, a, b in work],
        "speculation": {"hit": True, "saved_ms": 180, "revisions": 1, "wasted_ms": 0},
        "budget_ms": BUDGET,
    }


def _steps(text: str, count: int) -> Iterator[dict[str, Any]]:
    """Positions become final in an order that is neither left to right nor random."""
    words = [word if n == 0 else f" {word}" for n, word in enumerate(text.split(" "))]
    order = sorted(range(len(words)), key=lambda n: (n * 7) % len(words))
    for step in range(1, count + 1):
        final = set(order[: len(words) * step // count])
        masked = [n not in final for n in range(len(words))]
        yield {
            "step": step,
            "of": count,
            "tokens": ["" if hidden else word for word, hidden in zip(words, masked, strict=True)],
            "masked": masked,
            "confidence": [
                0.2 if hidden else 0.6 + 0.4 * n / len(words) for n, hidden in enumerate(masked)
            ],
            "ms": 40.0,
        }
