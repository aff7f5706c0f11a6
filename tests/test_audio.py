import wave

import numpy as np
import pytest

from agent.audio.samples import (
    StreamResampler,
    first_above,
    from_pcm16,
    last_above,
    read_sound_file,
    resample,
    to_mono,
    to_pcm16,
    write_wav,
)
from agent.errors import AudioError


def tone(seconds, rate, frequency=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(
        np.float32
    )


def write(path, samples, rate=16_000, width=2, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        scaled = (
            (samples * 127 + 128).astype("u1") if width == 1 else (samples * 32767).astype("<i2")
        )
        file.writeframes(np.repeat(scaled, channels).tobytes())
    return path


def test_pcm_round_trip_and_clipping():
    samples = np.array([0.0, 0.5, -1.0, 2.0, -3.0], np.float32)
    assert from_pcm16(to_pcm16(samples)) == pytest.approx([0, 0.5, -1, 32767 / 32768, -1])
    with pytest.raises(AudioError, match="even number of bytes, got 3"):
        from_pcm16(b"abc")


@pytest.mark.parametrize(
    ("source", "target"), [(24_000, 16_000), (22_050, 24_000), (8_000, 16_000)]
)
def test_streamed_resampling_equals_whole_and_holds_back_little(source, target):
    signal = tone(1.0, source)
    stream = StreamResampler(source, target)
    size = source // 50
    pieces = [stream.push(signal[at : at + size]) for at in range(0, len(signal), size)]
    held_back = target - sum(map(len, pieces))
    assert held_back / target < 0.003
    streamed = np.concatenate([*pieces, stream.flush()])
    whole = resample(signal, source, target)
    assert len(streamed) == len(whole)
    assert np.abs(streamed - whole).max() < 1e-4
    middle = slice(target // 10, target * 9 // 10)
    assert np.abs(whole[middle] - tone(1.0, target)[middle]).max() < 0.01


def test_levels():
    samples = np.array([0.001, 0.02, 0.5, 0.02, 0.001], np.float32)
    assert first_above(samples, -40) == 1
    assert last_above(samples, -20) == 2
    assert first_above(np.zeros(5, np.float32), -90) is None


def test_a_recording_is_brought_to_the_wanted_rate(tmp_path):
    path = write(tmp_path / "a.wav", tone(0.5, 44_100), rate=44_100)
    recording = read_sound_file(path, 24_000)
    assert recording.rate == 24_000
    assert abs(len(recording.samples) - 12_000) < 30
    assert recording.notes == ()


def test_odd_recordings_are_taken_with_a_note(tmp_path):
    stereo = read_sound_file(write(tmp_path / "s.wav", tone(0.2, 16_000), channels=2), 16_000)
    assert "2 channels were mixed" in stereo.notes[0]
    assert np.abs(stereo.samples).max() == pytest.approx(0.5, abs=0.02)
    eight = read_sound_file(write(tmp_path / "8.wav", tone(0.2, 8_000), 8_000, width=1), 16_000)
    assert "8-bit" in eight.notes[0]
    assert "telephone quality" in eight.notes[1]
    assert np.abs(eight.samples).max() == pytest.approx(0.5, abs=0.05)


def test_what_is_no_recording_is_refused_with_a_reason(tmp_path):
    text = tmp_path / "text.wav"
    text.write_text("this is no sound" * 100)
    nothing = tmp_path / "nothing.wav"
    nothing.write_bytes(b"")
    cases = [
        (text, "not a sound file"),
        (nothing, "not a sound file"),
        (tmp_path / "missing.wav", "no such file"),
        (write(tmp_path / "empty.wav", np.zeros(0)), "holds no samples"),
        (write(tmp_path / "slow.wav", tone(0.1, 4_000), rate=4_000), "between 8000 and 192000"),
    ]
    for path, reason in cases:
        with pytest.raises(AudioError, match=reason):
            read_sound_file(path, 16_000)


def test_stereo_recordings_are_written_side_by_side(tmp_path):
    path = tmp_path / "call.wav"
    write_wav(path, [np.full(4, 0.5, np.float32), np.full(2, -0.5, np.float32)], 24_000)
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 24_000, 4)
        data = np.frombuffer(file.readframes(4), "<i2").reshape(-1, 2)
    assert data[:, 0].tolist() == [16384] * 4
    assert data[:, 1].tolist() == [-16384, -16384, 0, 0]
    with pytest.raises(AudioError, match="cannot be written"):
        write_wav(tmp_path / "no" / "call.wav", [np.zeros(1, np.float32)], 24_000)


@pytest.mark.parametrize("balance", [1.0, 0.9])
def test_channels_of_opposite_polarity_do_not_cancel_out(balance):
    tone = np.sin(np.arange(4800) / 10).astype(np.float32)
    mixed = to_mono(np.stack([tone, -balance * tone]))
    assert np.abs(mixed).max() > 0.9


def test_channels_are_mixed_evenly():
    left = np.sin(np.arange(4800) / 10).astype(np.float32)
    right = np.cos(np.arange(4800) / 17).astype(np.float32)
    assert np.allclose(to_mono(np.stack([left, right])), (left + right) / 2)
    assert np.allclose(to_mono(np.stack([left, left])), left)
    assert not to_mono(np.zeros((2, 10), np.float32)).any()
