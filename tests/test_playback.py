import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.session.playback import SLICE_SECONDS, Playback
from tts.engine import SpeechChunk, WordSpan

RATE = 1000


def sound(seconds, *words, level=0.5):
    samples = np.full(round(seconds * RATE), level, np.float32)
    spans = tuple(WordSpan(text, 0, round(end * RATE)) for text, end in words)
    return SpeechChunk(samples, RATE, spans)


def seconds_sent(playback, now):
    return sum(len(piece) for piece in playback.due(now)) / RATE


def test_sound_runs_ahead_of_the_ear_by_the_lead_and_no_more():
    playback = Playback(lead=0.3)
    playback.queue(0, sound(2.0))
    assert seconds_sent(playback, 10.0) == pytest.approx(0.3, abs=SLICE_SECONDS)
    assert seconds_sent(playback, 10.0) == 0
    assert seconds_sent(playback, 10.2) == pytest.approx(0.2, abs=SLICE_SECONDS)
    assert playback.heard(10.2) == pytest.approx(0.2)


def test_the_clock_of_the_ear_stops_when_nothing_is_there_to_hear():
    playback = Playback(lead=0.3)
    playback.queue(0, sound(0.2))
    seconds_sent(playback, 0.0)
    assert playback.heard(5.0) == pytest.approx(0.2)
    playback.queue(1, sound(0.2))
    seconds_sent(playback, 5.0)
    assert playback.heard(5.1) == pytest.approx(0.3)


def test_words_are_mapped_to_positions():
    playback = Playback(lead=1.0)
    playback.queue(0, sound(1.0, ("hello", 0.4), ("world", 0.9)))
    playback.close_segment(0)
    playback.queue(1, sound(1.0, ("again", 0.5)))
    assert playback.mark_at(0.3) is None
    assert (playback.mark_at(0.5).segment, playback.mark_at(0.5).words) == (0, 1)
    assert (playback.mark_at(1.2).segment, playback.mark_at(1.2).words) == (0, None)
    assert (playback.mark_at(1.6).segment, playback.mark_at(1.6).words) == (1, 1)


def test_the_first_audible_sample_is_found_behind_silence():
    playback = Playback(lead=1.0)
    playback.queue(0, sound(0.1, level=0.0))
    assert playback.first_audible is None
    playback.queue(0, sound(0.1))
    assert playback.first_audible == pytest.approx(0.1)


def test_what_was_not_sent_can_be_dropped():
    playback = Playback(lead=0.1)
    playback.queue(0, sound(5.0))
    seconds_sent(playback, 0.0)
    playback.cut()
    assert playback.all_sent
    assert seconds_sent(playback, 1.0) == 0


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0.01, 0.5), st.floats(0, 0.4)), max_size=30))
def test_everything_is_sent_once_and_the_ear_never_overtakes(steps):
    playback = Playback(lead=0.3)
    now = queued = sent = 0.0
    for length, wait in steps:
        chunk = sound(length)
        playback.queue(0, chunk)
        queued += len(chunk.samples) / RATE
        now += wait
        sent += seconds_sent(playback, now)
        assert playback.heard(now) <= sent + 1e-9
        assert playback.ahead(now) <= 0.3 + SLICE_SECONDS + 1e-9
    while (due := playback.next_due(now)) is not None and not playback.all_sent:
        now = max(now + 0.001, due)
        sent += seconds_sent(playback, now)
    assert sent == pytest.approx(queued)
