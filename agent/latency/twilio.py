"""Twilio's end of a call over bidirectional Media Streams.

Source: twilio.com/docs/voice/media-streams/websocket-messages.
"""

from __future__ import annotations

import base64
import json
import socket
import uuid
from collections.abc import Iterable, Iterator

from agent.audio.samples import Samples
from agent.latency.connection import ReceivedEvent
from agent.latency.telephony import Message, TelephonyConnection
from agent.telephony.check.fake_providers import Twilio


class TwilioConnection(TelephonyConnection):
    """One Twilio media stream, mu-law at 8 kHz.

    Args:
        url: address of the agent's media socket.
        token: value of the custom parameter ``token``.
        sock: connected socket to use; None: a new one is opened.
    """

    def __init__(
        self, url: str, token: str | None = None, sock: socket.socket | None = None
    ) -> None:
        super().__init__(url, sock=sock)
        self._provider = Twilio(f"CA{uuid.uuid4().hex}", token or "")

    async def press(self, keys: str) -> None:
        """Press the telephone keys ``keys``, one after the other.

        Raises:
            CallError: the connection was lost.
        """
        for digit in keys:
            await self._tell(self._provider.key(digit))

    def _opening(self) -> Iterable[Message]:
        return self._provider.opening()

    def _said(self, frame: Samples) -> Message:
        return self._provider.sound(frame)

    def _played(self, mark: str) -> Message:
        return self._provider.mark(mark)

    def _read(self, message: Message) -> Iterator[ReceivedEvent]:
        command = json.loads(message)
        match command["event"]:
            case "media":
                yield self._plays(base64.b64decode(command["media"]["payload"]))
            case "mark":
                self._playout.mark(command["mark"]["name"])
            case "clear":
                yield self._clears()
