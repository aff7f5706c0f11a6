"""The public wire protocol: the OpenAI Realtime GA events that a voice turn needs.

``client_events`` reads what clients send, ``server_events`` writes what they get.
No sockets here. The grammar is in docs/protocol.md.
"""

from agent.protocol.client_events import AppendedAudio, BadEvent, ClientMessage, Pinged, parse
from agent.protocol.server_events import EventWriter, SessionFacts

WIRE_RATE = 24_000

__all__ = [
    "WIRE_RATE",
    "AppendedAudio",
    "BadEvent",
    "ClientMessage",
    "EventWriter",
    "Pinged",
    "SessionFacts",
    "parse",
]
