from __future__ import annotations

import numpy as np
import pytest
from support.sounds import silence

from asr.engine import AsrError
from asr.recording import Recording


def test_the_sound_comes_back_in_order() -> None:
    recording = Recording(max_seconds=1)
    chunks = [np.full(3, value, dtype=np.float32) for value in (0.1, 0.2, 0.3)]
    for chunk in chunks:
        recording.append(chunk)
    np.testing.assert_array_equal(recording.since(0), np.concatenate(chunks))
    np.testing.assert_array_equal(recording.since(7), chunks[2][1:])
    assert len(recording) == 9


def test_a_chunk_may_be_reused_by_the_caller() -> None:
    recording = Recording(max_seconds=1)
    chunk = np.ones(4, dtype=np.float32)
    recording.append(chunk)
    chunk.fill(0.0)
    assert recording.since(0).sum() == 4


def test_an_empty_recording_is_an_empty_array() -> None:
    assert Recording(max_seconds=1).since(0).shape == (0,)


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.zeros(4, dtype=np.int16), "float32"),
        (np.zeros((4, 2), dtype=np.float32), "shape"),
        (np.array([0.0, np.nan], dtype=np.float32), "finite"),
    ],
)
def test_what_is_no_speech_is_refused(samples: np.ndarray, complaint: str) -> None:
    with pytest.raises(AsrError, match=complaint):
        Recording(max_seconds=1).append(samples)


def test_the_length_is_bounded() -> None:
    recording = Recording(max_seconds=1)
    recording.append(silence(1))
    with pytest.raises(AsrError, match="longer than 1 s"):
        recording.append(silence(0.01))


def test_a_closed_recording_holds_nothing() -> None:
    recording = Recording(max_seconds=1)
    recording.append(silence(0.5))
    recording.close()
    recording.close()
    with pytest.raises(AsrError, match="closed"):
        recording.append(silence(0.1))
    with pytest.raises(AsrError, match="closed"):
        recording.since(0)
