"""The turn model smart-turn v3.2: the probability that the last seconds of sound end a turn.

The network (Daily, BSD-2-Clause) is a Whisper-tiny encoder with a small head, trained on complete
and incomplete turns; it hears the intonation of a sentence, which a transcript does not show. It
is asked once, at the first silent frame of a pause, on a thread of its own: one question takes
some 75 ms of a core, and more threads made it slower.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Final

import numpy as np
import onnxruntime
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from agent.audio.samples import Samples
from agent.audio.vad import RATE
from agent.errors import ModelError
from agent.models import store

MODEL: Final = "smart-turn"
SECONDS: Final = 8
"""Seconds of sound, the last of a turn, that the network takes."""
MAX_WAITING: Final = 8
"""Pauses of all calls that may wait for the network; for more, the words decide alone."""

_VARIANCE_FLOOR: Final = 1e-7


class SmartTurn:
    """The loaded network, shared by all calls."""

    def __init__(self, session: Any) -> None:
        """See `load`."""
        self._session = session
        self._features = FeatureExtractor(chunk_length=SECONDS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="smart-turn")
        self._places = BoundedSemaphore(MAX_WAITING)

    @classmethod
    def load(cls, path: Path | None = None) -> SmartTurn:
        """Load the network, by default the fetched one.

        Raises:
            ModelError: the network was not fetched, or the file is not this network.
        """
        path = path or store.locate(MODEL)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                path, sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each kind of failure
            raise ModelError(
                f"cannot load the turn model {path}: {error}; run: {store.fetch_command(MODEL)}"
            ) from error
        return cls(session)

    def probability(self, sound: Samples) -> float:
        """Probability that the turn ends with ``sound``, 16 kHz mono ``[n]`` (blocking)."""
        features = log_mel(sound, self._features)
        [output] = self._session.run(None, {"input_features": features[None]})
        return float(output.item())

    def submit(self, sound: Samples) -> Future[float] | None:
        """Ask for the probability on the network's own thread; None if too many questions wait.

        A question can be cancelled until its computation begins.
        """
        if not self._places.acquire(blocking=False):
            return None
        asked = self._thread.submit(self.probability, sound[-SECONDS * RATE :].copy())
        asked.add_done_callback(lambda _: self._places.release())
        return asked

    def warm_up(self) -> None:
        """Run the network once, so that the first caller does not wait for its initialisation."""
        self.probability(np.zeros(RATE, np.float32))

    def close(self) -> None:
        """End the thread; questions that wait are cancelled. Closing twice is harmless."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def log_mel(sound: Samples, features: FeatureExtractor) -> NDArray[np.float32]:
    """Whisper's log-mel features ``[80, 800]`` of the last 8 s, as the network was trained.

    A shorter sound is padded with silence *before* it, and the whole is normalised to mean 0 and
    variance 1 before the spectrum (``do_normalize`` of transformers' WhisperFeatureExtractor).
    """
    size = SECONDS * RATE
    window = np.pad(sound[-size:], (max(0, size - len(sound)), 0)).astype(np.float32)
    window = (window - window.mean()) / np.sqrt(window.var() + _VARIANCE_FLOOR)
    return np.asarray(features(window, padding=0), dtype=np.float32)
