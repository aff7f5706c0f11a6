"""Reuse of what the encoder makes of the silence behind the speech.

Most of a short utterance's window (`asr.window`) is padding: 7 s of 10 s for a question of 3 s. The
encoder's output there says "silence from here on" and hardly changes while the caller speaks on.
So the whole window is encoded for the partial transcripts, while the caller speaks, and its padding
is kept. The final transcript, for which the caller waits, encodes the speech and `MARGIN` alone and
takes the rest from what was kept. The decoder sees a window of the usual length, without which it
would repeat itself.
"""

from __future__ import annotations

from typing import Any, Final

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from asr.window import FRAMES_PER_SECOND, MARGIN, window_frames

MAX_AGE: Final = int(1.0 * FRAMES_PER_SECOND)
"""Frames by which the speech may have grown since the padding was encoded."""

MIN_KEPT: Final = int(0.8 * FRAMES_PER_SECOND)
"""Frames of sound, pre-roll included, behind which padding is kept: behind less it misleads."""

SURE_LOGPROB: Final = -0.6
"""Mean log-probability from which on the words of a window with kept padding are believed."""

_STRIDE = 2


class EncodedPadding:
    """The padding of one utterance's last whole window, after the encoder.

    Attributes:
        reuses: number of windows that were completed with it.
    """

    def __init__(self) -> None:
        self.reuses = 0
        self._states: NDArray[np.float32] | None = None
        self._speech_frames = 0

    def keep(self, encoded: Any, speech_frames: int) -> None:
        """Keep the output for a whole window, a StorageView ``[1, frames / 2, width]``.

        Output on a GPU or of another type than float32 is not kept: there the encoder is quick.
        Nothing is kept behind less than `MIN_KEPT` frames.

        Args:
            speech_frames: mel frames of the sound at its beginning; the rest is padding.
        """
        plain = encoded.device == "cpu" and encoded.dtype == ctranslate2.DataType.float32
        kept = plain and speech_frames >= MIN_KEPT
        self._states = np.array(encoded)[0] if kept else None
        self._speech_frames = speech_frames

    def frames(self, speech_frames: int, n_mels: int, whole: int) -> int | None:
        """Mel frames to encode of a window of ``whole`` frames; None if nothing fits behind."""
        if self._states is None or _STRIDE * len(self._states) != whole:
            return None
        if not 0 <= speech_frames - self._speech_frames <= MAX_AGE:
            return None
        frames = window_frames(speech_frames, n_mels, speech_frames + MARGIN)
        return frames if frames < whole else None

    def behind(self, encoded: Any) -> Any:
        """The window ``encoded`` with the kept padding behind it, as a StorageView.

        Raises:
            ValueError: nothing is kept.
        """
        if self._states is None:
            raise ValueError("no padding is kept")
        speech = np.array(encoded)[0]
        joined = np.concatenate([speech, self._states[len(speech) :]])
        self.reuses += 1
        return ctranslate2.StorageView.from_array(joined[np.newaxis])
