"""The abilities of the server that a client's wishes are measured by, and the state of reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.audio.wire_format import WireFormat
from agent.reply import FunctionTool


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the loaded engines can do.

    Attributes:
        tools: whether the responder calls functions.
        model: name of the model that replies.
        recogniser: name of the model that transcribes.
        language: language code of the recogniser.
        voice: name of the voice.
        refuses: why a function cannot be called, with the path in its schema, which begins with
            ``#``; None for a function that can.
        own_tools: the functions that this server runs.
    """

    tools: bool = True
    model: str = ""
    recogniser: str = ""
    language: str = ""
    voice: str = ""
    refuses: Callable[[FunctionTool], str | None] = lambda tool: None
    own_tools: Callable[[], tuple[FunctionTool, ...]] = tuple


@dataclass(slots=True)
class Reading:
    """The part of a session's state that the reader of its events needs.

    Attributes:
        input_format: the caller's sound in events.
        tools: the functions of the session.
        transcription_only: whether the session has no replies.
    """

    abilities: Abilities = field(default_factory=Abilities)
    input_format: WireFormat = field(default_factory=WireFormat)
    tools: tuple[FunctionTool, ...] = ()
    transcription_only: bool = False
