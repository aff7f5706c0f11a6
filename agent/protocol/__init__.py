"""The public wire protocol: the OpenAI Realtime GA events that a voice turn needs.

``client_events`` reads the events of clients, ``server_events`` writes those of the server,
both without sockets. The grammar is in docs/protocol.md.
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
