"""Length of the encoder's window.

Whisper was trained on windows of 30 s, and its reference code pads every utterance to them: 3000
mel frames, most of them silence, while the encoder's time grows with their number and that of its
attention with the square. CTranslate2 encodes any length up to 3000, so a short utterance gets a
short window. Too short a window makes the decoder repeat itself; `SHORTEST` and `MARGIN` are the
smallest values that measured as good as 30 s (benchmarks/recognition.py), and `asr.gates` detects
the loops that remain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAMES_PER_SECOND = 100
"""Mel frames per second: hops of 160 samples at 16 kHz."""

FULL = 3000
"""Frames of the window that Whisper was trained on (30 s)."""

SHORTEST = 1000
"""Frames of the smallest window (10 s)."""

MARGIN = 200
"""Frames of silence after the speech (2 s): without them the decoder does not see the end."""

_STRIDE = 2


def window_frames(speech_frames: int, n_mels: int, shortest: int = SHORTEST) -> int:
    """Frames of the window for an utterance of ``speech_frames`` frames, at least ``shortest``.

    CTranslate2 takes an array whose second axis is ``n_mels`` for features and encodes it
    again, so a window whose *encoded* length (half its frames) is ``n_mels`` must not be used.
    """
    frames = min(FULL, max(shortest, speech_frames + MARGIN))
    frames += frames % _STRIDE
    if frames // _STRIDE == n_mels:
        frames += _STRIDE
    return frames


def fit(features: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Cut or pad normalised log-mel features ``[n_mels, n]`` to ``[1, n_mels, frames]``.

    The padding is zero in the *normalised* scale, as in training; zeros of sound would shift
    the scale.
    """
    window: NDArray[Any] = np.zeros((1, features.shape[0], frames), dtype=np.float32)
    kept = min(frames, features.shape[1])
    window[0, :, :kept] = features[:, :kept]
    return window
