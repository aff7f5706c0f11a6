"""Rate conversion by a small ratio: what passes, what does not, and that pieces do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.audio.polyphase import Polyphase, is_small

RATES = [(8000, 16_000), (16_000, 8000), (24_000, 16_000), (16_000, 24_000), (48_000, 8000)]


def tone(hertz, rate, seconds=0.5):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def converted(sound, source, target):
    stream = Polyphase(source, target)
    return np.concatenate([stream.push(sound), stream.flush()])


def decibels(sound):
    return 20 * np.log10(np.sqrt(2 * np.square(sound).mean()) + 1e-9)


@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("hertz", [100, 1000, 3300])
def test_speech_passes_in_time_and_level(source, target, hertz):
    out = converted(tone(hertz, source), source, target)
    expected = tone(hertz, target)
    assert len(out) == len(expected)
    inner = slice(target // 50, -target // 50)
    np.testing.assert_allclose(out[inner], expected[inner], atol=0.03)


@pytest.mark.parametrize("hertz", [4700, 5000, 7000])
def test_what_would_alias_does_not_pass(hertz):
    out = converted(tone(hertz, 16_000), 16_000, 8000)
    assert decibels(out[200:-200]) < -55


@pytest.mark.parametrize("hertz", [500, 3000])
def test_no_image_above_half_of_the_lower_rate(hertz):
    out = converted(tone(hertz, 8000), 8000, 16_000)[400:-400]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    upper = len(spectrum) // 2 + 200
    assert 20 * np.log10(spectrum[upper:].max() / spectrum.max()) < -55


@pytest.mark.slow
@given(
    st.sampled_from(RATES), st.lists(st.integers(0, 700), max_size=12), st.integers(0, 2**32 - 1)
)
@settings(deadline=None, max_examples=60)
def test_pieces_give_what_the_whole_gives(rates, sizes, seed):
    sound = np.random.default_rng(seed).normal(0, 0.1, sum(sizes)).astype(np.float32)
    stream, pieces, held, fed = Polyphase(*rates), [], 0.0, 0
    for piece in np.split(sound, np.cumsum(sizes)[:-1] if sizes else []):
        pieces.append(stream.push(piece))
        fed += len(piece)
        held = fed / rates[0] - sum(map(len, pieces)) / rates[1]
        assert held <= 16 / min(rates) + 8 / rates[0]
    pieces.append(stream.flush())
    np.testing.assert_allclose(np.concatenate(pieces), converted(sound, *rates), atol=1e-5)


def test_for_which_rates_it_is():
    assert is_small(8000, 16_000)
    assert is_small(48_000, 16_000)
    assert not is_small(22_050, 16_000)
