"""A telephone provider's end of a call: what Twilio sends to an agent, and does with its answer.

Twilio Media Streams, bidirectional (twilio.com/docs/voice/media-streams/websocket-messages).
"""

from __future__ import annotations

import base64
import json
import socket
import uuid
from collections.abc import Iterable, Iterator

from agent.audio.samples import Samples
from agent.latency.phone import Message, PhoneWire
from agent.latency.wire import Arrival
from agent.telephony.check.fake_providers import Twilio


class TwilioWire(PhoneWire):
    """One call.

    Args:
        url: where the agent takes media streams.
        token: goes into the parameters of the call as ``token``.
        sock: a connected socket to use; by default one is made.
    """

    def __init__(
        self, url: str, token: str | None = None, sock: socket.socket | None = None
    ) -> None:
        super().__init__(url, sock=sock)
        self._provider = Twilio(f"CA{uuid.uuid4().hex}", token or "")

    async def press(self, keys: str) -> None:
        """The caller presses these keys, one after the other."""
        for digit in keys:
            await self._tell(self._provider.key(digit))

    def _opening(self) -> Iterable[Message]:
        return self._provider.opening()

    def _said(self, frame: Samples) -> Message:
        return self._provider.sound(frame)

    def _played(self, mark: str) -> Message:
        return self._provider.mark(mark)

    def _read(self, message: Message) -> Iterator[Arrival]:
        command = json.loads(message)
        match command["event"]:
            case "media":
                yield self._plays(base64.b64decode(command["media"]["payload"]))
            case "mark":
                self._playout.mark(command["mark"]["name"])
            case "clear":
                yield self._clears()
