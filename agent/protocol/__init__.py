"""The public wire protocol: the OpenAI Realtime GA events that a voice turn needs.

``client_events`` reads the events of clients, ``server_events`` writes those of the server,
both without sockets. The grammar is in docs/protocol.md.
"""

from agent.protocol.abilities import Abilities, Reading
from agent.protocol.client_events import (
    AppendedAudio,
    ClientEvents,
    ClientMessage,
    Identified,
    Pinged,
    parse,
)
from agent.protocol.objects import WIRE_RATE
from agent.protocol.problems import BadEvent
from agent.protocol.server_events import RESUMABLE, EventWriter
from agent.protocol.session_object import SessionFacts

__all__ = [
    "RESUMABLE",
    "WIRE_RATE",
    "Abilities",
    "AppendedAudio",
    "BadEvent",
    "ClientEvents",
    "ClientMessage",
    "EventWriter",
    "Identified",
    "Pinged",
    "Reading",
    "SessionFacts",
    "parse",
]
