from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.window import FULL, MARGIN, SHORTEST, fit, window_frames


@given(st.integers(0, 4000), st.sampled_from([80, 128]))
def test_a_window_is_even_bounded_and_never_taken_for_features(speech: int, n_mels: int) -> None:
    frames = window_frames(speech, n_mels)
    assert SHORTEST <= frames <= FULL
    assert frames % 2 == 0
    assert frames // 2 != n_mels
    assert frames >= min(FULL, speech + MARGIN)


def test_a_window_that_would_be_encoded_twice_is_widened() -> None:
    assert window_frames(0, n_mels=SHORTEST // 2) == SHORTEST + 2


@pytest.mark.parametrize("length", [3, 8, 20])
def test_features_are_cut_or_padded_with_zeros(length: int) -> None:
    features = np.ones((2, length), dtype=np.float32)
    window = fit(features, 8)
    assert window.shape == (1, 2, 8)
    assert window.dtype == np.float32
    assert window.sum() == 2 * min(length, 8)
    assert (window[0, :, min(length, 8) :] == 0).all()
