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
    """One utterance being heard.

    ``feed`` and ``close`` may be called on another thread than the two that decode. All raise
    `AsrError` after ``close`` (except ``close``).
    """

    def feed(self, samples: Samples) -> None:
        """Append 16 kHz float32 mono ``[n]`` in [-1, 1]; cheap, never decodes.

        Raises `AsrError` for any other array and when the utterance is over its bound.
        """

    def hypothesis(self) -> Transcript:
        """Decode what was fed so far (blocking); ``final`` is False."""

    def finish(self) -> Transcript:
        """Decode the whole utterance (blocking); empty text when it was no speech.

        May be called again after more was fed: the pause was not the end.
        """

    def close(self) -> None:
        """Drop the audio; safe to call twice."""


class Transcriber(Protocol):
    """A loaded recogniser, shared by all calls."""

    def listen(self) -> Listening:
        """Begin an utterance."""

    def warm_up(self) -> None:
        """Run every code path once so that the first caller does not pay for it."""

    def close(self) -> None: ...
