"""The recorded and the made-up sounds that tests listen to: 16 kHz float32 mono."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import agent.questions

RATE = 16_000
DATA = Path(__file__).parent.parent / "data"
BUNDLED = Path(agent.questions.__file__).parent

LIBRIVOX: dict[str, str] = json.loads((DATA / "librivox" / "expected.json").read_text())
QUESTIONS: dict[str, str] = {
    name: text
    for folder in (BUNDLED, DATA / "questions")
    for name, text in json.loads((folder / "expected.json").read_text()).items()
}

Sound = NDArray[np.float32]


def read_wav(path: Path) -> Sound:
    with wave.open(str(path)) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (RATE, 1, 2)
        pcm = reader.readframes(reader.getnframes())
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768


def librivox(name: str) -> Sound:
    return read_wav(DATA / "librivox" / f"{name}.wav")


def question(name: str) -> Sound:
    bundled = BUNDLED / f"{name}.wav"
    return read_wav(bundled if bundled.is_file() else DATA / "questions" / f"{name}.wav")


def silence(seconds: float) -> Sound:
    return np.zeros(int(seconds * RATE), dtype=np.float32)


def white_noise(seconds: float, rms: float) -> Sound:
    return np.random.default_rng(7).normal(0, rms, int(seconds * RATE)).astype(np.float32)


def in_a_call(speech: Sound) -> Sound:
    """The speech as a call delivers it: pre-roll before, endpoint silence after, faint noise."""
    sound = np.concatenate([silence(0.3), speech, silence(0.5)])
    return sound + white_noise(len(sound) / RATE + 1, 4e-4)[: len(sound)]


def _tone(seconds: float, hertz: float) -> Sound:
    time = np.arange(int(seconds * RATE)) / RATE
    return np.sin(2 * np.pi * hertz * time).astype(np.float32)


def _click() -> Sound:
    sound = silence(1.5)
    sound[8000:8040] = 0.8
    return sound


def _breath() -> Sound:
    """Noise shaped like an exhalation: band around 900 Hz, swelling and fading."""
    noise = white_noise(1.5, 1.0)
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    shaped = np.fft.irfft(spectrum * np.exp(-(((hertz - 900) / 700) ** 2)), len(noise))
    swell = np.sin(np.pi * np.arange(len(noise)) / len(noise)) ** 2
    return (0.1 * shaped / np.abs(shaped).max() * swell).astype(np.float32)


NOT_SPEECH: dict[str, Sound] = {
    "silence": silence(1.5),
    "faint noise": white_noise(1.5, 3e-4),
    "white noise": white_noise(1.5, 0.02),
    "loud white noise": white_noise(3.0, 0.1),
    "mains hum": 0.05 * _tone(1.5, 50) + 0.02 * _tone(1.5, 150),
    "beep": np.concatenate([0.2 * _tone(0.4, 1000), silence(1.1)]),
    "click": _click(),
    "breath": _breath(),
}
"""Sounds that Whisper, asked without a gate, hears as "you", "I'm sorry." or "Thank you."."""
