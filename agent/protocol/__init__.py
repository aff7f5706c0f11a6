"""The public wire protocol: the OpenAI Realtime GA events that a voice turn needs.

``client_events`` reads what clients send, ``server_events`` writes what they get.
No sockets here. The grammar is in docs/protocol.md.
"""

from agent.protocol.client_events import AppendedAudio, BadEvent, ClientMessage, Pinged, parse
from agent.protocol.objects import WIRE_RATE
from agent.protocol.server_events import EventWriter
from agent.protocol.session_object import SessionFacts

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
