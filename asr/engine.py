"""Interface of a speech recogniser: 16 kHz float32 mono in, transcripts out.

Implementations block; the caller chooses the thread on which they run.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from asr.transcript import Transcript

RATE = 16_000
"""Samples per second that every recogniser takes."""

Samples = NDArray[np.float32]


class AsrError(Exception):
    """A recogniser could not be loaded or failed; the message says what to do."""


class Listening(Protocol):
    """One utterance during its recognition.

    ``feed`` and ``close`` may be called on another thread than ``hypothesis`` and ``finish``. After
    ``close`` all methods but ``close`` raise `AsrError`.
    """

    def feed(self, samples: Samples) -> None:
        """Append 16 kHz float32 mono ``[n]`` in [-1, 1]; cheap, never decodes.

        Raises:
            AsrError: another kind of array, or the utterance exceeds its bound.
        """

    def hypothesis(self) -> Transcript:
        """Decode the sound fed so far (blocking); ``final`` of the transcript is False.

        Raises:
            AsrError: the engine failed.
        """

    def finish(self) -> Transcript:
        """Decode the whole utterance (blocking); the text is empty if there was no speech.

        After more sound was fed it may be called again, as when a pause was not the end.

        Raises:
            AsrError: the engine failed.
        """

    def close(self) -> None:
        """Free the sound; safe to call twice."""


@runtime_checkable
class SteppedListening(Listening, Protocol):
    """An utterance whose decoding can be given up, or give way to another, between two steps."""

    def steps(self, *, final: bool) -> Generator[Transcript | None, None, None]:
        """`finish` if ``final``, else `hypothesis`, step by step; the transcript comes last.

        Raises:
            AsrError: the engine failed.
        """


@runtime_checkable
class GlancingListening(Listening, Protocol):
    """An utterance that can be read faster, and less well, than by `hypothesis` and `finish`."""

    def glance(self) -> Transcript:
        """Guess the words of the sound so far (blocking), within some 50 ms; none is stable.

        It is for the decision whether a sound has words, and which kind, not for reading.

        Raises:
            AsrError: the engine failed.
        """

    def skim(self) -> Transcript:
        """`finish` within the time of a hypothesis (blocking): doubtful words stay as they are.

        Raises:
            AsrError: the engine failed.
        """


class Transcriber(Protocol):
    """A loaded recogniser, shared by all sessions."""

    def listen(self) -> Listening:
        """Begin an utterance."""

    def warm_up(self) -> None:
        """Run every code path once, so that the first utterance is not slower than others."""

    def close(self) -> None:
        """Free the model."""
