"""The contract of a speech recogniser: 16 kHz float32 mono in, transcripts out.

Implementations are blocking; the caller decides on which thread they run.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asr.transcript import Transcript

RATE = 16_000
"""Samples per second that every recogniser takes."""

Samples = NDArray[np.float32]


class AsrError(Exception):
    """A recogniser could not be loaded or failed; the message says what to do."""


class Listening(Protocol):
    """One utterance being heard."""

    def feed(self, samples: Samples) -> None:
        """Append 16 kHz float32 mono in [-1, 1]; cheap, never decodes."""

    def hypothesis(self) -> Transcript:
        """Decode what was fed so far (blocking); ``final`` is False."""

    def finish(self) -> Transcript:
        """Decode the whole utterance (blocking); empty text when it was no speech."""

    def close(self) -> None:
        """Drop the audio; safe to call twice."""


class Transcriber(Protocol):
    """A loaded recogniser, shared by all calls."""

    def listen(self) -> Listening:
        """Begin an utterance."""

    def warm_up(self) -> None:
        """Run every code path once so that the first caller does not pay for it."""

    def close(self) -> None: ...
