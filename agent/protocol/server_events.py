"""Writer of server events: notices of the session in, Realtime events out."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, assert_never

from agent.audio.samples import Samples, StreamResampler, to_pcm16
from agent.protocol import objects
from agent.protocol.client_events import Pinged
from agent.protocol.objects import WIRE_RATE, Event
from agent.protocol.session_object import SessionFacts, SessionObject
from agent.session.notices import (
    AudioCleared,
    CanvasShown,
    Configured,
    Duck,
    ItemTruncated,
    Notice,
    Play,
    Remark,
    ReplyFinished,
    ReplyStarted,
    ReplyTextDelta,
    SpeechStarted,
    SpeechStopped,
    StopPlaying,
    TextAccepted,
    TranscriptUpdated,
    Trouble,
    TurnCommitted,
    TurnTimed,
    Unduck,
    WordTimestamps,
)


@dataclass(slots=True)
class EventWriter:
    """Writes the events of one connection.

    Attributes:
        facts: the settings that the session object shows.
    """

    facts: SessionFacts
    _session: SessionObject = field(init=False)
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _resampler: StreamResampler | None = None
    _said: str = ""
    """Transcript of the running reply so far."""
    _previous: str | None = None
    """Item before the running reply."""

    def __post_init__(self) -> None:
        self._session = SessionObject(self.facts)

    def created(self) -> Event:
        """The first event of a connection."""
        return self._event("session.created", session=self._session.body())

    def output_buffer(self, change: str, response_id: str) -> Event:
        """WebRTC only: the event that a reply's audio ``started``, ``stopped`` or ``cleared``."""
        return self._event(f"output_audio_buffer.{change}", response_id=response_id)

    def pong(self, ping: Pinged, now: float) -> Event:
        """The answer to ``ping`` at monotonic second ``now``."""
        times = {"client_time_ms": ping.client_time_ms, "server_time_ms": round(now * 1000, 3)}
        return self._event("onebreath.pong", **times)

    def write(self, notice: Notice) -> Iterator[Event]:
        """The events that tell a client about ``notice``."""
        for kind, body in self._bodies(notice):
            yield self._event(kind, **body)

    def _event(self, kind: str, **body: Any) -> Event:
        return {"type": kind, "event_id": f"event_{next(self._count):06d}", **body}

    def _bodies(self, notice: Notice) -> Iterator[tuple[str, Event]]:
        match notice:
            case SpeechStarted():
                body = {"audio_start_ms": objects.ms(notice.audio_start), "item_id": notice.item_id}
                yield "input_audio_buffer.speech_started", body
            case SpeechStopped():
                body = {"audio_end_ms": objects.ms(notice.audio_end), "item_id": notice.item_id}
                yield "input_audio_buffer.speech_stopped", body
            case TurnCommitted():
                yield from self._committed(notice)
            case AudioCleared():
                yield "input_audio_buffer.cleared", {}
            case TranscriptUpdated():
                yield from self._words_heard(notice)
            case TextAccepted():
                content = [{"type": "input_text", "text": notice.text}]
                item = objects.item(notice.item_id, "user", "completed", content)
                yield from self._new_item(item, notice.previous_item_id)
            case ReplyStarted():
                yield from self._reply_started(notice)
            case ReplyTextDelta():
                self._said += notice.delta
                place = objects.place(notice.response_id, notice.item_id)
                yield "response.output_audio_transcript.delta", {**place, "delta": notice.delta}
            case WordTimestamps():
                yield "onebreath.playback.words", objects.places(notice)
            case CanvasShown():
                yield "onebreath.denoise.step", objects.canvas(notice.response_id, notice.step)
            case Play():
                yield from self._audio(notice.response_id, notice.item_id, self._converted(notice))
            case Duck():
                body = {"response_id": notice.response_id, "gain_db": notice.gain_db}
                yield "onebreath.playback.duck", body
            case Unduck():
                yield "onebreath.playback.resume", {"response_id": notice.response_id}
            case StopPlaying():
                self._resampler = None
                ids = {"response_id": notice.response_id, "item_id": notice.item_id}
                yield "onebreath.playback.stop", {**ids, "heard_ms": objects.ms(notice.heard)}
            case ReplyFinished():
                yield from self._reply_finished(notice)
            case TurnTimed():
                yield "onebreath.turn.timings", objects.timings(notice)
            case ItemTruncated():
                body = {"item_id": notice.item_id, "content_index": 0}
                end = {"audio_end_ms": objects.ms(notice.audio_end)}
                yield "conversation.item.truncated", {**body, **end}
            case Configured():
                self._session.take(notice.settings)
                yield "session.updated", {"session": self._session.body()}
            case Trouble():
                yield "error", {"error": objects.error(notice)}
            case Remark():
                yield "onebreath.notice", asdict(notice)
            case _:
                assert_never(notice)

    def _committed(self, notice: TurnCommitted) -> Iterator[tuple[str, Event]]:
        ids = {"item_id": notice.item_id, "previous_item_id": notice.previous_item_id}
        yield "input_audio_buffer.committed", ids
        content = [{"type": "input_audio", "transcript": None}]
        item = objects.item(notice.item_id, "user", "completed", content)
        yield from self._new_item(item, notice.previous_item_id)

    def _new_item(self, item: Event, previous: str | None) -> Iterator[tuple[str, Event]]:
        body = {"item": item, "previous_item_id": previous}
        yield "conversation.item.added", body
        yield "conversation.item.done", body

    def _words_heard(self, notice: TranscriptUpdated) -> Iterator[tuple[str, Event]]:
        place = {"item_id": notice.item_id, "content_index": 0}
        if not notice.final:
            body = {"item_id": notice.item_id, "text": notice.text, "stable_delta": notice.delta}
            yield "onebreath.transcript.partial", body
            return
        kind = "conversation.item.input_audio_transcription"
        yield f"{kind}.delta", {**place, "delta": notice.text}
        usage = {"type": "duration", "seconds": round(notice.seconds, 3)}
        yield f"{kind}.completed", {**place, "transcript": notice.text, "usage": usage}

    def _reply_started(self, notice: ReplyStarted) -> Iterator[tuple[str, Event]]:
        self._said, self._resampler = "", None
        self._previous = notice.previous_item_id
        response = objects.response(notice.response_id, "in_progress", [])
        yield "response.created", {"response": response}
        item = objects.item(notice.item_id, "assistant", "in_progress", [])
        place = {"response_id": notice.response_id, "output_index": 0}
        yield "response.output_item.added", {**place, "item": item}
        body = {"item": item, "previous_item_id": notice.previous_item_id}
        yield "conversation.item.added", body
        part = {"type": "audio", "transcript": ""}
        place = objects.place(notice.response_id, notice.item_id)
        yield "response.content_part.added", {**place, "part": part}

    def _converted(self, notice: Play) -> Samples:
        if self._resampler is None or self._resampler.source_rate != notice.rate:
            self._resampler = StreamResampler(notice.rate, WIRE_RATE)
        return self._resampler.push(notice.samples)

    def _audio(
        self, response_id: str, item_id: str, samples: Samples
    ) -> Iterator[tuple[str, Event]]:
        if len(samples):
            delta = base64.b64encode(to_pcm16(samples)).decode("ascii")
            place = objects.place(response_id, item_id)
            yield "response.output_audio.delta", {**place, "delta": delta}

    def _reply_finished(self, notice: ReplyFinished) -> Iterator[tuple[str, Event]]:
        place = objects.place(notice.response_id, notice.item_id)
        if self._resampler is not None:
            tail = self._resampler.flush()
            self._resampler = None
            yield from self._audio(notice.response_id, notice.item_id, tail)
        yield "response.output_audio.done", place
        yield "response.output_audio_transcript.done", {**place, "transcript": self._said}
        part = {"type": "audio", "transcript": notice.text}
        yield "response.content_part.done", {**place, "part": part}
        status = "completed" if notice.status == "completed" else "incomplete"
        content = [{"type": "output_audio", "transcript": notice.text}]
        item = objects.item(notice.item_id, "assistant", status, content)
        ids = {"response_id": notice.response_id, "output_index": 0}
        yield "response.output_item.done", {**ids, "item": item}
        yield "conversation.item.done", {"item": item, "previous_item_id": self._previous}
        response = objects.response(notice.response_id, notice.status, [item])
        if notice.status != "completed":
            details = {"type": notice.status, "reason": notice.reason}
            response["status_details"] = details
        response["onebreath"] = notice.stats
        yield "response.done", {"response": response}
