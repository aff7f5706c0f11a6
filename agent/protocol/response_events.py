"""The events of one response, from ``response.created`` to ``response.done``."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.audio.samples import Samples, StreamResampler
from agent.audio.wire_format import WireFormat
from agent.protocol import objects
from agent.protocol.objects import Event
from agent.session.notices import (
    FunctionArgumentsDelta,
    FunctionCallDone,
    FunctionCallStarted,
    Play,
    ReplyFinished,
    ReplyGenerated,
    ReplyItemStarted,
    ReplyStarted,
    ReplyTextDelta,
)

REASONS = ("turn_detected", "client_cancelled")
"""The reasons of cancelled responses that the API has."""
Named = tuple[str, Event]
"""The type of an event and its body."""


@dataclass(slots=True)
class ResponseEvents:
    """Writes the events of one response.

    Attributes:
        started: the reply.
        shared: fields of the response object that the session decides on.
        output_format: the sound of the response.
    """

    started: ReplyStarted
    shared: Event
    output_format: WireFormat = field(default_factory=WireFormat)
    own_fields: bool = False
    _items: list[str] = field(default_factory=list)
    """Ids of the output's items, in order."""
    _complete: dict[str, Event] = field(default_factory=dict)
    """The items that are complete, by id."""
    _calls: dict[str, FunctionCallStarted] = field(default_factory=dict)
    _said: str = ""
    _previous: str | None = None
    _resampler: StreamResampler | None = None
    done: bool = False

    @property
    def response_id(self) -> str:
        """The id of the response."""
        return self.started.response_id

    def begin(self) -> Iterator[Named]:
        """The events of the beginning."""
        yield "response.created", {"response": self._object("in_progress", [])}

    def _object(self, status: str, output: list[Event]) -> Event:
        body = objects.response(self.response_id, status, output)
        conversation = None if self.started.apart else self.shared["conversation_id"]
        return {
            **body,
            **self.shared,
            "conversation_id": conversation,
            "output_modalities": ["text"] if self.started.text_only else ["audio"],
            "max_output_tokens": objects.limit(self.started.max_tokens),
            "metadata": self.started.metadata,
        }

    def _place(self, item_id: str) -> Event:
        ids = {"response_id": self.response_id, "item_id": item_id}
        return {**ids, "output_index": self._items.index(item_id)}

    def _part_place(self, item_id: str) -> Event:
        return {**self._place(item_id), "content_index": 0}

    # ---- items -----------------------------------------------------------------------

    def _add(self, item: Event, previous: str | None) -> Iterator[Named]:
        self._items.append(item["id"])
        index = {"response_id": self.response_id, "output_index": len(self._items) - 1}
        yield "response.output_item.added", {**index, "item": item}
        if not self.started.apart:
            yield "conversation.item.added", {"item": item, "previous_item_id": previous}

    def _finish(self, item: Event, previous: str | None) -> Iterator[Named]:
        self._complete[item["id"]] = item
        place = self._place(item["id"])
        del place["item_id"]
        yield "response.output_item.done", {**place, "item": item}
        if not self.started.apart:
            yield "conversation.item.done", {"item": item, "previous_item_id": previous}

    def show_message(self, notice: ReplyItemStarted) -> Iterator[Named]:
        """The events of the message's beginning."""
        self._previous = notice.previous_item_id
        item = objects.item(notice.item_id, "assistant", "in_progress", [])
        yield from self._add(item, notice.previous_item_id)
        place = self._part_place(notice.item_id)
        yield "response.content_part.added", {**place, "part": self._part("")}

    def _part(self, text: str) -> Event:
        if self.started.text_only:
            return {"type": "text", "text": text}
        return {"type": "audio", "transcript": text}

    def words(self, notice: ReplyTextDelta) -> Iterator[Named]:
        """The event of the message's next words."""
        self._said += notice.delta
        kind = "output_text" if self.started.text_only else "output_audio_transcript"
        place = self._part_place(notice.item_id)
        yield f"response.{kind}.delta", {**place, "delta": notice.delta}

    def sound(self, notice: Play) -> Iterator[Named]:
        """The event of the message's next sound."""
        if self._resampler is None or self._resampler.source_rate != notice.rate:
            self._resampler = StreamResampler(notice.rate, self.output_format.rate)
        yield from self._audio(self._resampler.push(notice.samples))

    def _audio(self, samples: Samples) -> Iterator[Named]:
        if len(samples):
            delta = base64.b64encode(self.output_format.encode(samples)).decode("ascii")
            place = self._part_place(self.started.item_id)
            yield "response.output_audio.delta", {**place, "delta": delta}

    def change_sound(self, output_format: WireFormat, shared: Event) -> None:
        """Go on in another format.

        Args:
            shared: fields of the response object that the session decides on, with that format.
        """
        if output_format != self.output_format:
            self.output_format, self.shared, self._resampler = output_format, shared, None

    def drop_sound(self) -> None:
        """Forget the sound that is being resampled."""
        self._resampler = None

    # ---- calls of functions ----------------------------------------------------------

    def call_started(self, notice: FunctionCallStarted) -> Iterator[Named]:
        """The events of a call's beginning."""
        self._calls[notice.item_id] = notice
        ids = (notice.item_id, "in_progress", notice.call_id, notice.name)
        yield from self._add(objects.call_item(*ids, ""), notice.previous_item_id)

    def arguments(self, notice: FunctionArgumentsDelta) -> Iterator[Named]:
        """The event of a call's next arguments."""
        place = {**self._place(notice.item_id), "call_id": notice.call_id}
        yield "response.function_call_arguments.delta", {**place, "delta": notice.delta}

    def call_done(self, notice: FunctionCallDone) -> Iterator[Named]:
        """The events of a complete call."""
        begun = self._calls.pop(notice.item_id)
        place = {**self._place(notice.item_id), "call_id": notice.call_id, "name": notice.name}
        body = {**place, "arguments": notice.arguments}
        yield "response.function_call_arguments.done", body
        ids = (notice.item_id, "completed", notice.call_id, notice.name)
        item = objects.call_item(*ids, notice.arguments)
        yield from self._finish(item, begun.previous_item_id)

    # ---- the end ---------------------------------------------------------------------

    def end(self, notice: ReplyGenerated | ReplyFinished) -> Iterator[Named]:
        """The events of the end; nothing if they were written already."""
        if self.done:
            return
        self.done = True
        if self._resampler is not None:
            tail = self._resampler.flush()
            self._resampler = None
            yield from self._audio(tail)
        complete = notice.status == "completed"
        if notice.item_id in self._items:
            yield from self._message_done(notice.item_id, notice.text, complete=complete)
        for begun in self._calls.values():
            ids = (begun.item_id, "incomplete", begun.call_id, begun.name)
            yield from self._finish(objects.call_item(*ids, ""), begun.previous_item_id)
        output = [self._complete[item_id] for item_id in self._items]
        response = self._object(notice.status, output)
        response["status_details"] = _details(notice)
        response["usage"] = objects.usage(notice.usage)
        if self.own_fields:
            response["onebreath"] = notice.stats
        yield "response.done", {"response": response}

    def _message_done(self, item_id: str, text: str, *, complete: bool) -> Iterator[Named]:
        place = self._part_place(item_id)
        if self.started.text_only:
            yield "response.output_text.done", {**place, "text": self._said}
            content: Event = {"type": "output_text", "text": text}
        else:
            yield "response.output_audio.done", place
            yield "response.output_audio_transcript.done", {**place, "transcript": self._said}
            content = {"type": "output_audio", "transcript": text}
        yield "response.content_part.done", {**place, "part": self._part(text)}
        status = "completed" if complete else "incomplete"
        item = objects.item(item_id, "assistant", status, [content])
        yield from self._finish(item, self._previous)


def _details(notice: ReplyGenerated | ReplyFinished) -> Event | None:
    """Why a response was not completed."""
    if isinstance(notice, ReplyGenerated):
        if notice.status == "completed":
            return None
        return {"type": "incomplete", "reason": "max_output_tokens"}
    if notice.status == "completed":
        return None
    if notice.status == "failed":
        error = {"type": "server_error", "code": "engine_failed", "message": notice.reason}
        return {"type": "failed", "error": error}
    # Typed clients know these reasons alone, and lose the whole event at any other.
    reason = {"reason": notice.reason} if notice.reason in REASONS else {}
    return {"type": notice.status, **reason}
