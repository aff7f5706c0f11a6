"""New sessions: the engines' abilities, the client's first wishes, and the writer of its events."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from agent.config.settings import Settings
from agent.protocol import Abilities, EventWriter, Reading, SessionFacts
from agent.protocol.session_settings import read_session
from agent.responders.base import decoding_of, uses_tools
from agent.runtime.engine_tasks import Engines
from agent.session.events import Configure

OWN_EVENTS = "onebreath"
"""The query parameter by which a client asks for this project's own events."""
INTENT = "intent"


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session before its first event.

    Attributes:
        writer: of the events to the client.
        reading: the state of the session that the meaning of its events depends on.
        initial: settings that hold from the beginning.
        paced: whether the client takes sound at the speed of playback.
    """

    writer: EventWriter
    reading: Reading
    initial: Configure
    paced: bool


class Sessions:
    """Makes the sessions of one server."""

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self.settings = settings
        self._engines = engines

    @cached_property
    def abilities(self) -> Abilities:
        """The abilities of the loaded engines."""
        settings, engines, tts = self.settings, self._engines, self.settings.tts
        return Abilities(
            tools=uses_tools(engines.responder),
            model=model_name(settings.responder.engine, "diffusion", settings.responder.model),
            recogniser=model_name(settings.asr.engine, "whisper", settings.asr.model),
            language=settings.asr.language,
            voice=model_name(tts.engine, "piper", tts.voice),
            refuses=getattr(engines.responder, "refuses", lambda tool: None),
            own_tools=engines.tools.offered,
        )

    @cached_property
    def _decoding(self) -> Mapping[str, Any]:
        return decoding_of(self._engines.responder)

    def open(
        self,
        query: Mapping[str, str],
        session: Mapping[str, Any] | None = None,
        *,
        beta: bool = False,
        preview: bool = False,
    ) -> OpenedSession:
        """A new session.

        Args:
            query: of the request: ``onebreath=1`` for this project's own events,
                ``intent=transcription`` for a session without replies.
            session: the session object that comes with the request or with its secret.
            beta: whether the client asks for the events of the API's beta.
            preview: whether its address has them, unless its sessions are of the GA form.

        Raises:
            BadEvent: the session object makes no sense.
        """
        reading = Reading(self.abilities)
        initial = Configure() if session is None else read_session(dict(session), reading)
        if query.get(INTENT) == "transcription":
            initial = replace(initial, transcription_only=True)
            reading.transcription_only = True
        own = query.get(OWN_EVENTS, "") in ("1", "true", "events")
        writer = EventWriter(
            self._facts(),
            own,
            done_when_heard=own,
            beta=beta or preview,
            beta_until_typed=preview and not beta,
        )
        writer.configure(initial)
        return OpenedSession(writer, reading, initial, own)

    def _facts(self) -> SessionFacts:
        settings, known = self.settings, self.abilities
        return SessionFacts(
            session_id=f"sess_{secrets.token_hex(8)}",
            instructions=settings.responder.instructions,
            responder=known.model,
            recogniser=known.recogniser,
            voice=known.voice,
            language=known.language,
            detection=settings.turns.detection,
            threshold=settings.turns.threshold,
            endpoint_delay=settings.turns.endpoint_delay,
            pre_roll=settings.turns.pre_roll,
            idle_after=settings.call.idle_after,
            decoding=self._decoding,
            expires_at=int(time.time() + settings.server.max_call_seconds),
        )


def model_name(engine: str, with_models: str, model: str) -> str:
    """The name that clients are told: the model, or the engine where it has no choice of model."""
    return model if engine == with_models else engine
