"""The errors that a user can put right, as one hierarchy.

OnebreathError
├── ConfigError      a setting is unknown, malformed or contradicts another
├── ModelError       a model is missing, damaged or cannot be fetched
├── AudioError       a recording or a stream of sound cannot be used as it is
├── ProtocolError    a peer broke the wire protocol
├── CallError        a call could not be placed or was lost
└── PortInUse        another program listens where the server should

The message of each says what to do. The engines know nothing of the agent and have
their own: ``asr.engine.AsrError``, ``tts.engine.TtsError`` and
``agent.responders.base.ResponderError``.
"""

from __future__ import annotations


class OnebreathError(Exception):
    """Base of the errors that are shown to the user without a traceback."""


class ConfigError(OnebreathError):
    """A setting is unknown, malformed or contradicts another."""


class ModelError(OnebreathError):
    """A model is missing, damaged or cannot be fetched."""


class AudioError(OnebreathError):
    """A recording or a stream of sound cannot be used as it is."""


class ProtocolError(OnebreathError):
    """A peer broke the wire protocol."""


class CallError(OnebreathError):
    """A call could not be placed or was lost."""


class PortInUse(OnebreathError):
    """Another program listens where the server should."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"{host}:{port} is taken by another program; "
            f"stop it or choose another port (--port {port + 1})"
        )
        self.host = host
        self.port = port
