"""Writer of server events: notices of the session in, Realtime events out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, assert_never

from agent.audio.wire_format import WireFormat
from agent.protocol import objects
from agent.protocol.client_events import Pinged
from agent.protocol.objects import Event
from agent.protocol.older_events import as_beta
from agent.protocol.response_events import Named, ResponseEvents
from agent.protocol.session_object import SessionFacts, SessionObject
from agent.session.events import Configure
from agent.session.notices import (
    AudioCleared,
    CanvasShown,
    Configured,
    DecisionMade,
    Duck,
    FunctionArgumentsDelta,
    FunctionCallDone,
    FunctionCallStarted,
    IdleTimedOut,
    Item,
    ItemAccepted,
    ItemDeleted,
    ItemRetrieved,
    ItemTruncated,
    Notice,
    Play,
    Remark,
    ReplyFinished,
    ReplyGenerated,
    ReplyItemStarted,
    ReplyStarted,
    ReplyTextDelta,
    Resumed,
    SpeechStarted,
    SpeechStopped,
    StopPlaying,
    TextAccepted,
    TranscriptFailed,
    TranscriptUpdated,
    TransferRequested,
    Trouble,
    TurnCommitted,
    TurnTimed,
    Unduck,
    WordTimestamps,
)

RESUMABLE = "onebreath.session.resumable"
"""The type of the event that holds a secret; only the client itself is shown it."""
OWN = "onebreath."
"""The prefix of the events that are not of the API; a client asks for them."""
ReplyNotice = (
    ReplyItemStarted
    | ReplyTextDelta
    | FunctionCallStarted
    | FunctionArgumentsDelta
    | FunctionCallDone
    | Play
    | StopPlaying
    | ReplyGenerated
    | ReplyFinished
)
OwnNotice = (
    CanvasShown
    | WordTimestamps
    | Duck
    | Unduck
    | TurnTimed
    | Remark
    | DecisionMade
    | TransferRequested
)


@dataclass(slots=True)
class EventWriter:
    """Writes the events of one connection.

    Attributes:
        facts: the settings that the session object shows.
        own_events: whether the client takes the events of this project beside the API's.
        done_when_heard: whether a response is done once it was heard, not once it was generated.
        beta: whether events have the form of the API's beta.
        beta_until_typed: whether they have the GA form from the first session object on that has
            a type, which the beta's session objects have not.
    """

    facts: SessionFacts
    own_events: bool = False
    done_when_heard: bool = False
    beta: bool = False
    beta_until_typed: bool = False
    _session: SessionObject = field(init=False)
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _responses: dict[str, ResponseEvents] = field(default_factory=dict)
    """The responses that are not finished, by id."""
    _shown: dict[str, str] = field(default_factory=dict)
    """The stable words of the turns that are not transcribed, of a session without replies."""

    def __post_init__(self) -> None:
        self._session = SessionObject(self.facts)

    def configure(self, settings: Configure) -> None:
        """Take settings that hold from the beginning, before `created`."""
        self._session.take(settings)
        if settings.own_events is not None:
            self.own_events = settings.own_events
        if self.beta_until_typed and settings.transcription_only is False:
            self.beta = False  # the type ``realtime`` was named

    @property
    def session(self) -> Event:
        """The session object."""
        return self._session.body(own=self.own_events)

    def created(self) -> Event:
        """The first event of a connection."""
        kind, body = "session.created", {"session": self.session}
        if self.beta:
            kind, body = as_beta(kind, body) or (kind, body)
        return self._event(kind, **body)

    def resumable(self, token: str, seconds: float) -> Event:
        """The event that tells how to come back within ``seconds`` of a lost connection."""
        return self._event(RESUMABLE, **_way_back(token, seconds))

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
            if not self.own_events and kind.startswith(OWN) and kind != RESUMABLE:
                continue
            if not self.beta:
                yield self._event(kind, **body)
            elif (older := as_beta(kind, body)) is not None:
                yield self._event(older[0], **older[1])

    def _event(self, kind: str, **body: Any) -> Event:
        return {"type": kind, "event_id": f"event_{next(self._count):06d}", **body}

    def _bodies(self, notice: Notice) -> Iterator[Named]:
        match notice:
            case ReplyStarted():
                yield from self._reply_started(notice)
            case (
                ReplyItemStarted()
                | ReplyTextDelta()
                | FunctionCallStarted()
                | FunctionArgumentsDelta()
                | FunctionCallDone()
                | Play()
                | StopPlaying()
                | ReplyGenerated()
                | ReplyFinished()
            ):
                yield from self._reply(notice)
            case (
                CanvasShown()
                | WordTimestamps()
                | Duck()
                | Unduck()
                | TurnTimed()
                | Remark()
                | DecisionMade()
                | TransferRequested()
            ):
                yield _own(notice)
            case (
                SpeechStarted()
                | SpeechStopped()
                | TurnCommitted()
                | AudioCleared()
                | TranscriptUpdated()
                | TranscriptFailed()
                | IdleTimedOut()
            ):
                yield from self._caller(notice)
            case TextAccepted():
                item = Item(notice.item_id, "message", "user", notice.text)
                yield from _new_item(objects.shown_item(item), notice.previous_item_id)
            case ItemAccepted():
                yield from _new_item(objects.shown_item(notice.item), notice.previous_item_id)
            case ItemRetrieved():
                yield "conversation.item.retrieved", {"item": objects.shown_item(notice.item)}
            case ItemDeleted():
                yield "conversation.item.deleted", {"item_id": notice.item_id}
            case ItemTruncated():
                body = {"item_id": notice.item_id, "content_index": 0}
                end = {"audio_end_ms": objects.ms(notice.audio_end)}
                yield "conversation.item.truncated", {**body, **end}
            case Configured():
                yield from self._configured(notice.settings)
            case Resumed():
                yield from self._resumed(notice)
            case Trouble():
                yield "error", {"error": objects.error(notice)}
            case _:
                assert_never(notice)

    def _configured(self, settings: Configure) -> Iterator[Named]:
        self.configure(settings)
        if self.own_events and settings.output_format is not None:
            self._change_sound(settings.output_format)
        yield "session.updated", {"session": self.session}
        if settings.ignored:
            message = "not applied: " + "; ".join(settings.ignored)
            yield "onebreath.notice", {"code": "settings_ignored", "message": message}

    def _change_sound(self, sound: WireFormat) -> None:
        """Go on with running responses in another format; a client of the API expects their own."""
        for reply in self._responses.values():
            if reply.started.output_format is None:
                reply.change_sound(sound, self._session.of_responses(sound))

    def _resumed(self, notice: Resumed) -> Iterator[Named]:
        """The first events of a connection over which the session goes on."""
        self._responses.clear()
        self._shown.clear()
        yield "session.created", {"session": self._session.body(), "resumed": True}
        yield RESUMABLE, _way_back(notice.token, notice.seconds)
        for item, previous in notice.items:
            yield from _new_item(objects.shown_item(item), previous)

    # ---- the caller's side -------------------------------------------------------------

    def _caller(
        self,
        notice: SpeechStarted
        | SpeechStopped
        | TurnCommitted
        | AudioCleared
        | TranscriptUpdated
        | TranscriptFailed
        | IdleTimedOut,
    ) -> Iterator[Named]:
        match notice:
            case SpeechStarted():
                body = {"audio_start_ms": objects.ms(notice.audio_start), "item_id": notice.item_id}
                yield "input_audio_buffer.speech_started", body
            case SpeechStopped():
                body = {"audio_end_ms": objects.ms(notice.audio_end), "item_id": notice.item_id}
                yield "input_audio_buffer.speech_stopped", body
            case TurnCommitted():
                yield from _committed(notice)
            case AudioCleared():
                yield "input_audio_buffer.cleared", {}
            case IdleTimedOut():
                ends = {
                    "audio_start_ms": objects.ms(notice.audio_start),
                    "audio_end_ms": objects.ms(notice.audio_end),
                }
                body = {"item_id": notice.item_id, **ends}
                yield "input_audio_buffer.timeout_triggered", body
            case TranscriptUpdated():
                yield from self._words_heard(notice)
            case TranscriptFailed():
                self._shown.pop(notice.item_id, None)
                error = {"type": "server_error", "code": "asr_failed", "message": notice.message}
                body = {"item_id": notice.item_id, "content_index": 0}
                kind = "conversation.item.input_audio_transcription.failed"
                yield kind, {**body, "error": {**error, "param": None}}

    def _words_heard(self, notice: TranscriptUpdated) -> Iterator[Named]:
        place = {"item_id": notice.item_id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        early = self._session.transcription_only
        if not notice.final:
            body = {"item_id": notice.item_id, "text": notice.text, "stable_delta": notice.delta}
            yield "onebreath.transcript.partial", body
            if early:
                known = self._shown.get(notice.item_id, "")
                self._shown[notice.item_id] = known + notice.delta
                yield f"{kind}.delta", {**place, "delta": notice.delta}
            return
        shown = self._shown.pop(notice.item_id, "")
        if notice.text.startswith(shown) and notice.text != shown:
            yield f"{kind}.delta", {**place, "delta": notice.text[len(shown) :]}
        usage = {"type": "duration", "seconds": round(notice.seconds, 3)}
        yield f"{kind}.completed", {**place, "transcript": notice.text, "usage": usage}

    # ---- the agent's side --------------------------------------------------------------

    def _reply_started(self, notice: ReplyStarted) -> Iterator[Named]:
        session = self._session
        sound = notice.output_format or session.output_format
        reply = ResponseEvents(notice, session.of_responses(sound), sound, self.own_events)
        self._responses[notice.response_id] = reply
        yield from reply.begin()
        yield "rate_limits.updated", {"rate_limits": []}

    def _reply(self, notice: ReplyNotice) -> Iterator[Named]:
        reply = self._responses[notice.response_id]
        match notice:
            case ReplyItemStarted():
                yield from reply.show_message(notice)
            case ReplyTextDelta():
                yield from reply.words(notice)
            case FunctionCallStarted():
                yield from reply.call_started(notice)
            case FunctionArgumentsDelta():
                yield from reply.arguments(notice)
            case FunctionCallDone():
                yield from reply.call_done(notice)
            case Play():
                yield from reply.sound(notice)
            case StopPlaying():
                reply.drop_sound()
                ids = {"response_id": notice.response_id, "item_id": notice.item_id}
                yield "onebreath.playback.stop", {**ids, "heard_ms": objects.ms(notice.heard)}
            case ReplyGenerated() if self.done_when_heard:
                pass
            case ReplyGenerated():
                yield from reply.end(notice)
            case ReplyFinished():
                yield from reply.end(notice)
                del self._responses[notice.response_id]


def _way_back(token: str, seconds: float) -> Event:
    return {"token": token, "resume_seconds": round(seconds, 3)}


def _own(notice: OwnNotice) -> Named:
    match notice:
        case CanvasShown():
            return "onebreath.denoise.step", objects.canvas(notice.response_id, notice.step)
        case WordTimestamps():
            return "onebreath.playback.words", objects.places(notice)
        case Duck():
            body = {"response_id": notice.response_id, "gain_db": notice.gain_db}
            return "onebreath.playback.duck", body
        case Unduck():
            return "onebreath.playback.resume", {"response_id": notice.response_id}
        case TurnTimed():
            return "onebreath.turn.timings", objects.timings(notice)
        case DecisionMade():
            return "onebreath.decision", objects.decision(notice)
        case TransferRequested():
            return "onebreath.transfer", asdict(notice)
        case Remark():
            return "onebreath.notice", asdict(notice)


def _committed(notice: TurnCommitted) -> Iterator[Named]:
    ids = {"item_id": notice.item_id, "previous_item_id": notice.previous_item_id}
    yield "input_audio_buffer.committed", ids
    content = [{"type": "input_audio", "transcript": None}]
    item = objects.item(notice.item_id, "user", "completed", content)
    yield from _new_item(item, notice.previous_item_id)


def _new_item(item: Event, previous: str | None) -> Iterator[Named]:
    body = {"item": item, "previous_item_id": previous}
    yield "conversation.item.added", body
    yield "conversation.item.done", body
