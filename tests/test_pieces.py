from __future__ import annotations

import numpy as np
import pytest
from support.sounds import RATE, silence, white_noise

from asr.pieces import LONGEST, first_cut


@pytest.mark.parametrize("samples", [0, RATE, LONGEST])
def test_what_fits_is_not_cut(samples: int) -> None:
    assert first_cut(np.ones(samples, dtype=np.float32)) is None


def test_the_cut_lies_in_the_longest_pause() -> None:
    pause = 19 * RATE
    sound = white_noise(40, 0.1)
    sound[pause : pause + RATE // 2] = 0.0
    cut = first_cut(sound)
    assert cut is not None
    assert pause <= cut <= pause + RATE // 2


def test_a_later_pause_does_not_move_the_cut() -> None:
    sound = white_noise(31, 0.1)
    longer = np.concatenate([sound, silence(5)])
    assert first_cut(sound) == first_cut(longer)


def test_a_piece_is_never_longer_than_the_window() -> None:
    cut = first_cut(np.full(LONGEST + 1, 0.1, dtype=np.float32))
    assert cut is not None
    assert LONGEST // 2 <= cut <= LONGEST
