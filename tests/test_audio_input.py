import numpy as np
import pytest
from support.fakes import LoudIsSpeech, silence, speech

from agent.audio.echo import EchoDetector
from agent.errors import AudioError
from agent.runtime.audio_input import CallerAudio


def frames(rate, sound, message):
    ear = CallerAudio(LoudIsSpeech(), rate, 0.0)
    pieces = (sound[at : at + message] for at in range(0, len(sound), message))
    return [heard for n, piece in enumerate(pieces) for heard in ear.push(piece, n * 0.02)]


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("message", [1, 160, 1000, 48_000])
def test_frames_follow_each_other_whatever_the_messages(rate, message):
    sound = np.concatenate([silence(0.5, rate), speech(0.5, rate), silence(0.5, rate)])
    if message == 1:
        sound = sound[: rate // 4]
    heard = frames(rate, sound, message)
    assert [frame.chunk.start for frame in heard] == [512 * n for n in range(len(heard))]
    assert all(len(frame.chunk.samples) == 512 for frame in heard)
    whole = len(sound) / rate
    assert whole - 0.036 <= len(heard) * 0.032 <= whole
    if message > 1:
        loud = [frame.chunk.start / 16_000 for frame in heard if frame.probability > 0.5]
        assert loud[0] == pytest.approx(0.5, abs=0.033)
        assert loud[-1] == pytest.approx(1.0, abs=0.033)


def test_a_frame_does_not_wait_for_more_than_it_needs():
    ear = CallerAudio(LoudIsSpeech(), 24_000, 0.0)
    # 32 ms and the 1-2 ms that the resampler holds back
    pushed = 0
    while not list(ear.push(silence(0.001, 24_000), 0.0)):
        pushed += 1
    assert pushed <= 34


def test_sound_faster_than_time_is_refused():
    ear = CallerAudio(LoudIsSpeech(), 16_000, 0.0)
    for _ in range(61):
        list(ear.push(silence(1.0), 0.0))
    with pytest.raises(AudioError, match="send it in real time"):
        list(ear.push(silence(1.0), 0.0))


def test_the_agents_own_voice_in_the_microphone_is_not_speech():
    rng = np.random.default_rng(1)
    envelope = np.repeat(rng.uniform(0.0, 1.0, 60), 1600)
    voice = (0.6 * envelope * rng.uniform(-1, 1, 96_000)).astype(np.float32)
    echo = np.concatenate([np.zeros(1600, np.float32), 0.3 * voice])  # 100 ms later, 10 dB less
    deaf, judging = (
        CallerAudio(LoudIsSpeech(), 16_000, 0.0),
        CallerAudio(LoudIsSpeech(), 16_000, 0.0, EchoDetector()),
    )
    probabilities: dict[CallerAudio, list[float]] = {deaf: [], judging: []}
    for start in range(0, 96_000, 512):
        now = start / 16_000
        for ear, found in probabilities.items():
            ear.note_playback(voice[start : start + 512], 16_000, now)
            found += [h.probability for h in ear.push(echo[start : start + 512], now + 0.032)]
    settled = slice(60, None)
    assert np.mean(np.array(probabilities[deaf][settled]) > 0.5) > 0.3
    assert np.mean(np.array(probabilities[judging][settled]) > 0.5) < 0.02
    judging.note_playback_stopped(now)
    shout = (0.6 * rng.uniform(-1, 1, 16_000)).astype(np.float32)
    heard = [h.probability for h in judging.push(shout, now + 1.0)]
    assert heard[-1] > 0.9
