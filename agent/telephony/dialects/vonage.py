"""Vonage Voice and jambonz ``listen``: binary 16-bit audio, everything else as JSON text.

(developer.vonage.com, "WebSockets"; docs.jambonz.org, "listen"; the marks of jambonz:
github.com/jambonz/freeswitch-modules, mod_audio_fork)
"""

from __future__ import annotations

import re

from agent.telephony.dialects.base import (
    DialectError,
    Dtmf,
    MarkReached,
    PeerEvent,
    Started,
    WireMessage,
)
from agent.telephony.dialects.binary_stream import BinaryStream
from agent.telephony.dialects.encodings import Encoding, check_rate
from agent.telephony.dialects.json_fields import JsonFields, read_object, to_json

_CONTENT_TYPE = re.compile(r"audio/l16;\s*rate=(\d{1,6})")


class VonageStream(BinaryStream):
    """One connection. The headers of the NCCO come in the first message."""

    def _text(self, message: str) -> list[PeerEvent]:
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
        self._encoding, rate = Encoding.L16, check_rate(int(form[1]))
        call_id = fields.text("uuid", "")
        headers = fields.rest({"event", "content-type", "uuid"})
        token = headers.pop("token", None)
        return Started(call_id, call_id, rate, parameters=headers, token=token)

    def mark(self, name: str) -> list[WireMessage]:
        return [to_json({"action": "notify", "payload": {"mark": name}})]

    def clear(self) -> list[WireMessage]:
        return [to_json({"action": "clear"})]


class JambonzStream(BinaryStream):
    """One ``listen``; a mark goes with the audio that follows it, up to 30 at once."""

    def _text(self, message: str) -> list[PeerEvent]:
        fields = read_object(message)
        if self._encoding is None:
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
        self._encoding, rate = Encoding.L16, check_rate(fields.integer("sampleRate"))
        parameters = fields.parameters("metadata")
        call_id = fields.text("callSid")
        return Started(
            call_id,
            call_id,
            rate,
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
