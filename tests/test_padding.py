"""What is kept of a window's padding, and for which windows it is used: no model needed."""

from __future__ import annotations

import ctranslate2
import numpy as np
import pytest

from asr.padding import MAX_AGE, MIN_KEPT, EncodedPadding
from asr.window import MARGIN, SHORTEST

MELS = 80


def encoded(frames: int, value: float = 0.0) -> ctranslate2.StorageView:
    """The output of an encoder for ``frames`` mel frames, whose positions count up."""
    positions = np.arange(frames // 2, dtype=np.float32) + np.float32(value)
    return ctranslate2.StorageView.from_array(np.repeat(positions[:, None], 4, axis=1)[None])


def kept(speech_frames: int = 80) -> EncodedPadding:
    padding = EncodedPadding()
    padding.keep(encoded(SHORTEST), speech_frames)
    return padding


def test_nothing_is_reused_before_a_window_was_kept() -> None:
    assert EncodedPadding().frames(100, MELS, SHORTEST) is None
    with pytest.raises(ValueError, match="kept"):
        EncodedPadding().behind(encoded(300))


def test_the_speech_and_its_margin_are_encoded_anew() -> None:
    assert kept().frames(121, MELS, SHORTEST) == 121 + MARGIN + 1  # even


@pytest.mark.parametrize(
    ("speech", "whole"),
    [
        (79, SHORTEST),  # shorter than what was kept: not the same utterance
        (80 + MAX_AGE + 1, SHORTEST),  # grown too much since
        (300, SHORTEST + 2),  # another window
    ],
)
def test_a_whole_window_is_encoded_where_the_kept_one_does_not_fit(speech: int, whole: int) -> None:
    assert kept().frames(speech, MELS, whole) is None


def test_a_window_without_room_for_padding_is_whole() -> None:
    assert kept(700).frames(SHORTEST - MARGIN, MELS, SHORTEST) is None


def test_the_kept_padding_stands_at_its_own_places() -> None:
    padding = kept()
    joined = np.array(padding.behind(encoded(300, value=0.5)))
    assert joined.shape == (1, SHORTEST // 2, 4)
    assert np.array_equal(joined[0, :150, 0], np.arange(150) + np.float32(0.5))
    assert np.array_equal(joined[0, 150:, 0], np.arange(150, SHORTEST // 2))
    assert padding.reuses == 1


def test_nothing_is_kept_behind_too_little_sound() -> None:
    padding = kept()
    padding.keep(encoded(SHORTEST), MIN_KEPT - 1)
    assert padding.frames(MIN_KEPT, MELS, SHORTEST) is None


def test_output_of_another_type_is_not_kept() -> None:
    padding = EncodedPadding()
    padding.keep(encoded(SHORTEST).to(ctranslate2.DataType.bfloat16), 80)
    assert padding.frames(100, MELS, SHORTEST) is None


def test_a_later_window_takes_the_place_of_the_one_kept() -> None:
    padding = kept()
    padding.keep(encoded(SHORTEST, value=1000), 160)
    assert np.array(padding.behind(encoded(400)))[0, -1, 0] == 1000 + SHORTEST // 2 - 1
