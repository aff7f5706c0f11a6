"""The sound of one utterance while it is being fed."""

from __future__ import annotations

import threading

import numpy as np

from asr.engine import RATE, AsrError, Samples


class Recording:
    """Append-only sound at 16 kHz with a bound; one thread may append while another reads."""

    def __init__(self, max_seconds: float) -> None:
        self._limit = int(max_seconds * RATE)
        self._chunks: list[Samples] = []
        self._length = 0
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Samples fed so far."""
        return self._length

    @property
    def seconds(self) -> float:
        """Length of the sound fed so far."""
        return self._length / RATE

    def append(self, samples: Samples) -> None:
        """Keep a copy of ``samples``, float32 mono ``[n]`` in [-1, 1].

        Raises:
            AsrError: another kind of array, the utterance exceeds its bound, or it was closed.
        """
        if samples.dtype != np.float32 or samples.ndim != 1:
            raise AsrError(
                "speech must be one-dimensional float32 at 16 kHz, "
                f"not {samples.dtype} of shape {samples.shape}"
            )
        if not np.isfinite(samples).all():
            raise AsrError("speech has samples that are not finite numbers")
        with self._lock:
            self._check_open()
            if self._length + len(samples) > self._limit:
                raise AsrError(
                    f"the utterance is longer than {self._limit / RATE:g} s: "
                    "finish it and listen anew, or raise max_seconds"
                )
            self._chunks.append(samples.copy())
            self._length += len(samples)

    def since(self, start: int) -> Samples:
        """Sound from sample ``start`` to the last one fed.

        Raises:
            AsrError: after `close`.
        """
        with self._lock:
            self._check_open()
            if len(self._chunks) != 1:
                self._chunks = [np.concatenate([np.zeros(0, np.float32), *self._chunks])]
            return self._chunks[0][start:]

    def close(self) -> None:
        """Free the sound; safe to call twice."""
        with self._lock:
            self._closed = True
            self._chunks = []

    def _check_open(self) -> None:
        if self._closed:
            raise AsrError("this utterance was closed: call listen() for a new one")
