"""Vonage Voice and jambonz ``listen``: binary 16-bit sound, everything else as JSON text.

(developer.vonage.com, "WebSockets"; docs.jambonz.org, "listen"; the marks of jambonz:
github.com/jambonz/freeswitch-modules, mod_audio_fork)
"""

from __future__ import annotations

import re

from agent.audio.samples import Samples, to_pcm16
from agent.telephony.dialects.base import (
    AudioReceived,
    Capabilities,
    DialectError,
    Dtmf,
    MarkReached,
    PeerEvent,
    Started,
    Unsupported,
    WireMessage,
)
from agent.telephony.dialects.encodings import Encoding, check_rate
from agent.telephony.dialects.json_fields import MAX_MESSAGE, JsonFields, read_object, to_json

_CONTENT_TYPE = re.compile(r"audio/l16;\s*rate=(\d{1,6})")


class _BinaryStream:
    """Sound without an envelope, once the first message told its rate."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self._rate: int | None = None

    def _sound_of(self, data: bytes) -> list[PeerEvent]:
        if self._rate is None:
            raise DialectError("sound came before the message that names the call")
        if len(data) > MAX_MESSAGE:
            raise DialectError(f"a message of {len(data)} bytes; {MAX_MESSAGE} are allowed")
        return [AudioReceived(Encoding.L16.decode(data))]

    def sound(self, samples: Samples) -> list[WireMessage]:
        return [to_pcm16(samples)]


class VonageStream(_BinaryStream):
    """One connection. The headers of the NCCO come in the first message."""

    def read(self, message: WireMessage) -> list[PeerEvent]:
        if isinstance(message, bytes):
            return self._sound_of(message)
        fields = read_object(message)
        match fields.text("event"):
            case "websocket:connected":
                return [self._start(fields)]
            case "websocket:dtmf":
                holder = fields if fields.has("digit") else fields.section("dtmf")
                return [Dtmf(holder.text("digit"))]
            case "websocket:notify":
                return [MarkReached(fields.section("payload").text("mark"))]
            case _:
                return []

    def _start(self, fields: JsonFields) -> Started:
        form = _CONTENT_TYPE.fullmatch(fields.text("content-type").lower())
        if form is None:
            raise DialectError("ask for audio/l16;rate=16000 in the NCCO")
        self._rate = check_rate(int(form[1]))
        call_id = fields.text("uuid", "")
        headers = fields.rest({"event", "content-type", "uuid"})
        token = headers.pop("token", None)
        return Started(call_id, call_id, self._rate, parameters=headers, token=token)

    def mark(self, name: str) -> list[WireMessage]:
        return [to_json({"action": "notify", "payload": {"mark": name}})]

    def clear(self) -> list[WireMessage]:
        return [to_json({"action": "clear"})]

    def hang_up(self) -> list[WireMessage]:
        return []

    def transfer(self, destination: str) -> list[WireMessage]:
        raise Unsupported("Vonage transfers over its REST API, not over the media socket")


class JambonzStream(_BinaryStream):
    """One ``listen``; a mark goes with the sound that follows it, up to 30 at once."""

    def read(self, message: WireMessage) -> list[PeerEvent]:
        if isinstance(message, bytes):
            return self._sound_of(message)
        fields = read_object(message)
        if self._rate is None:
            return [self._start(fields)]
        if fields.text("event", "") == "dtmf":
            return [Dtmf(fields.text("dtmf" if fields.has("dtmf") else "digit"))]
        if fields.text("type", "") == "mark":
            mark = fields.section("data")
            if mark.text("event", "") != "cleared":
                return [MarkReached(mark.text("name"))]
        return []

    def _start(self, fields: JsonFields) -> Started:
        if fields.text("mixType", "mono") != "mono":
            raise DialectError('set "mixType": "mono" in the listen verb')
        self._rate = check_rate(fields.integer("sampleRate"))
        parameters = fields.parameters("metadata")
        call_id = fields.text("callSid")
        return Started(
            call_id,
            call_id,
            self._rate,
            fields.text("from", ""),
            fields.text("to", ""),
            parameters,
            parameters.pop("token", None),
        )

    def mark(self, name: str) -> list[WireMessage]:
        return [to_json({"type": "mark", "data": {"name": name}})]

    def clear(self) -> list[WireMessage]:
        return [to_json({"type": "killAudio"})]

    def hang_up(self) -> list[WireMessage]:
        return [to_json({"type": "disconnect"})]

    def transfer(self, destination: str) -> list[WireMessage]:
        raise Unsupported("let the verb after listen dial the other party, and hang up")
