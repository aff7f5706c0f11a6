from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rooms import START, at_level, echo, judged, noise, speech, starts
from support.sounds import RATE, Sound, librivox, question, silence
from support.voices import joe_voice

import tts
from agent.audio.echo import BANDS, EchoDetector, band_powers
from agent.audio.samples import AudioChunk, resample
from agent.audio.vad import FRAME_SAMPLES, SileroVad

silero = SileroVad.load()

PIPER_SAYS = (
    "The capital of France is Paris, a city on the river Seine. "
    "If you like, I can tell you more about it, or about another city. "
    "Most people come in spring, when it is warm but not yet crowded."
)
CALLER_AT = 5.0


@pytest.fixture(scope="module")
def agent() -> Sound:
    """Ten seconds of reading, as the agent's voice."""
    return at_level(np.concatenate([librivox(name) for name in ("0890", "0930", "0880")]), -20)


def microphone(agent: Sound, decibels: float, delay: float, reverberation: float = 0.3) -> Sound:
    return echo(agent, delay, decibels, reverberation) + noise(len(agent), -60)


def with_caller(sound: Sound, name: str, at: float = CALLER_AT) -> Sound:
    caller = at_level(question(name), -23)
    start = int(at * RATE)
    mixed = sound.copy()
    mixed[start : start + len(caller)] += caller
    return mixed


def adjusted(sound: Sound, agent: Sound) -> Sound:
    """Speech probability as the call uses it."""
    probability = speech(silero(), sound)
    return probability * (1 - judged(sound, agent, probabilities=probability))


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.02, 0.12, 0.4])
@pytest.mark.parametrize("decibels", [-10, -20, -30])
def test_the_agent_does_not_hear_itself(agent: Sound, decibels: float, delay: float) -> None:
    heard = microphone(agent, decibels, delay)
    assert starts(speech(silero(), heard)) != [], "without the judge it would"
    assert starts(adjusted(heard, agent)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["capital_of_france", "color_of_the_sky", "stop"])
@pytest.mark.parametrize("delay", [0.02, 0.25])
def test_a_caller_who_speaks_over_it_is_heard_as_soon(
    agent: Sound, name: str, delay: float
) -> None:
    alone = with_caller(noise(len(agent), -60), name)
    both = with_caller(microphone(agent, -20, delay), name)
    [expected] = starts(speech(silero(), alone))[:1]
    [found] = starts(adjusted(both, agent))[:1]
    assert found - expected <= 0.1


def test_with_headphones_the_caller_is_untouched(agent: Sound) -> None:
    alone = with_caller(noise(len(agent), -60), "spider_legs")
    begins = int(CALLER_AT * RATE) // FRAME_SAMPLES
    raw = speech(silero(), alone)
    kept = raw * (1 - judged(alone, agent))
    spoken = raw[begins:] > 0.5
    assert kept[begins:][spoken].mean() > 0.9 * raw[begins:][spoken].mean()


def test_frames_that_were_skipped_are_not_forgotten(agent: Sound) -> None:
    """What is asked about after them is answered as if each of them had been asked about."""
    heard = microphone(agent, -20, 0.12)
    asked = np.zeros(len(heard) // FRAME_SAMPLES, np.float32)
    asked[60:] = [number % 7 == 0 for number in range(60, len(asked))]
    chosen = asked == 1
    every, some = judged(heard, agent), judged(heard, agent, probabilities=asked)
    assert np.abs(every - some)[chosen].mean() < 0.05
    assert some[chosen].mean() > 0.8
    assert some[~chosen].max() == 0.0


def test_while_nothing_is_played_nothing_is_an_echo() -> None:
    assert judged(librivox("0880"), silence(0)).max() == 0.0


@pytest.mark.slow
def test_a_jittery_line_changes_nothing(agent: Sound) -> None:
    heard = microphone(agent, -20, 0.1)
    assert starts(speech(silero(), heard) * (1 - judged(heard, agent, jitter=0.08))) == []


@pytest.mark.slow
def test_the_echo_is_learnt_again_when_the_volume_is_turned_up(agent: Sound) -> None:
    returned = echo(agent, 0.12, -26, 0.3)
    turned = len(returned) // 2
    returned[turned:] *= 10 ** (6 / 20)
    heard = returned + noise(len(agent), -60)
    likelihood = judged(heard, agent)
    loud = speech(silero(), heard) > 0.5
    late = np.arange(len(loud)) > (turned + RATE) // FRAME_SAMPLES
    assert np.median(likelihood[loud & late]) > 0.9


def test_what_was_stopped_explains_nothing(agent: Sound) -> None:
    judge = EchoDetector()
    judge.played(agent[: 4 * RATE], RATE, START)
    judge.stopped(START + 0.5)
    sound = noise(4 * RATE, -20)
    likelihoods = [
        judge.likelihood(AudioChunk(sound[i : i + 512], RATE, i, START + (i + 512) / RATE))
        for i in range(0, len(sound) - 511, 512)
    ]
    assert max(likelihoods[60:]) < 0.2


@pytest.mark.slow
def test_playback_may_have_another_rate(agent: Sound) -> None:
    heard = microphone(agent, -20, 0.1)
    judge, likelihoods, piece = EchoDetector(), [], 1440
    sent = resample(agent, RATE, 24_000)
    for number, start in enumerate(range(0, len(sent), piece)):
        judge.played(sent[start : start + piece], 24_000, START + number * 0.06)
    for start in range(0, len(heard) - 511, 512):
        end = START + (start + 512) / RATE
        frame = AudioChunk(heard[start : start + 512], RATE, start, end)
        likelihoods.append(judge.likelihood(frame))
    assert starts(speech(silero(), heard) * (1 - np.array(likelihoods))) == []


@pytest.mark.parametrize(("size", "rate"), [(480, RATE), (512, 8_000)])
def test_another_frame_is_refused(size: int, rate: int) -> None:
    frame = AudioChunk(np.zeros(size, np.float32), rate, 0, START)
    with pytest.raises(ValueError, match="512 samples at 16000"):
        EchoDetector().likelihood(frame)


def test_band_powers_follow_the_frequency() -> None:
    time_line = np.arange(512) / RATE
    tones = np.stack([np.sin(2 * np.pi * hertz * time_line) for hertz in (300, 1000, 5000)])
    powers = band_powers(tones.astype(np.float32))
    assert powers.shape == (3, BANDS)
    assert list(powers.argmax(axis=1)) == sorted(powers.argmax(axis=1))


PIECES = st.tuples(
    st.floats(-2, 8), st.integers(0, 3000), st.sampled_from([8_000, 16_000, 22_050, 24_000])
)


@pytest.mark.slow
@given(st.lists(PIECES, max_size=12), st.floats(0, 1), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_whatever_is_played_the_likelihood_is_a_share(
    pieces: list[tuple[float, int, int]], loudness: float, seed: int
) -> None:
    judge, random = EchoDetector(), np.random.default_rng(seed)
    for at, size, rate in pieces:
        judge.played(random.uniform(-1, 1, size).astype(np.float32), rate, START + at)
    for start in range(0, 20 * FRAME_SAMPLES, FRAME_SAMPLES):
        sound = (loudness * random.uniform(-1, 1, FRAME_SAMPLES)).astype(np.float32)
        frame = AudioChunk(sound, RATE, start, START + start / RATE)
        assert 0.0 <= judge.likelihood(frame) <= 1.0


def test_a_frame_costs_less_than_a_millisecond(agent: Sound) -> None:
    heard = microphone(agent, -20, 0.1)
    began = time.process_time()
    frames = len(judged(heard, agent))
    assert (time.process_time() - began) / frames < 1e-3


@pytest.fixture(scope="module")
def piper() -> Sound:
    """Some ten seconds of the default voice."""
    voice = tts.load("piper", voice=joe_voice(), threads=1)
    try:
        sound = np.concatenate([chunk.samples for chunk in voice.speak(PIPER_SAYS)])
        return resample(sound, voice.rate, RATE)
    finally:
        voice.close()


@pytest.mark.model
@pytest.mark.parametrize("delay", [0.02, 0.2, 0.4])
def test_pipers_voice_does_not_interrupt_itself(piper: Sound, delay: float) -> None:
    heard = microphone(piper, -20, delay)
    assert starts(speech(silero(), heard)) != []
    assert starts(adjusted(heard, piper)) == []
    spoken_over = with_caller(heard, "romeo_and_juliet")
    assert CALLER_AT < starts(adjusted(spoken_over, piper))[0] < CALLER_AT + 0.4
