"""Seconds of speech in a sound, by the Silero VAD that comes with faster-whisper."""

from __future__ import annotations

import numpy as np
from faster_whisper.vad import get_vad_model

from asr.engine import RATE, Samples

_FRAME = 512
_THRESHOLD = 0.5


def speech_seconds(samples: Samples) -> float:
    """Seconds of speech in 16 kHz ``samples``, counted in whole frames of 32 ms."""
    frames = len(samples) // _FRAME
    if frames == 0:
        return 0.0
    # The model's own batching writes into the array it is given.
    probabilities = get_vad_model()(samples[: frames * _FRAME].copy())
    return float(np.count_nonzero(probabilities > _THRESHOLD)) * _FRAME / RATE
