"""Synthesised sounds of a caller's side: coughs, noises, music on hold, and what a line does.

Sounds are float32 mono at 16 kHz, peak at most 1, and the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from agent.audio.g711 import decode_mulaw, encode_mulaw
from agent.audio.samples import Samples, resample
from asr.engine import RATE

LOUD: Final = 0.35
"""Peak of a sound near the microphone."""
TELEPHONE_RATE: Final = 8000
MUFFLED_HZ: Final = 900.0
"""Cut-off frequency of a microphone under a hand or in a pocket."""


def sound(label: str, seed: int) -> Samples:
    """The sound called ``label``: cough, throat, slam, clatter, clink or music."""
    return _leveled(_SOUNDS[label](np.random.default_rng(seed)), LOUD)


def _cough(random: np.random.Generator) -> Samples:
    """One to three bursts of breath, each with a voiced beginning."""
    bursts = []
    for _ in range(random.integers(1, 4)):
        seconds = random.uniform(0.18, 0.32)
        breath = band(_white(random, seconds), 350.0, 4500.0) * _decay(seconds, seconds / 4)
        voice = _voiced(random, 0.09, 160.0) * _decay(0.09, 0.03)
        breath[: len(voice)] += 0.6 * voice
        bursts += [breath, _nothing(random.uniform(0.05, 0.16))]
    return np.concatenate(bursts[:-1])


def _throat(random: np.random.Generator) -> Samples:
    """One or two low growls: a rough, voiced noise."""
    growls = []
    for _ in range(random.integers(1, 3)):
        seconds = random.uniform(0.25, 0.45)
        rough = band(_white(random, seconds), 200.0, 2500.0)
        growl = _voiced(random, seconds, random.uniform(70.0, 100.0)) + 0.5 * rough
        growls += [growl * _hump(seconds), _nothing(0.08)]
    return np.concatenate(growls[:-1])


def _slam(random: np.random.Generator) -> Samples:
    return band(_white(random, 0.5), 40.0, 1200.0) * _decay(0.5, 0.06)


def _clatter(random: np.random.Generator) -> Samples:
    """Dishes or keys: clicks in an uneven row."""
    out = _nothing(random.uniform(0.6, 1.2))
    for at in random.uniform(0, len(out) / RATE - 0.06, size=12):
        click = band(_white(random, 0.05), 1500.0, 7000.0) * _decay(0.05, 0.008)
        begin = int(at * RATE)
        out[begin : begin + len(click)] += random.uniform(0.3, 1.0) * click
    return out


def _clink(random: np.random.Generator) -> Samples:
    time = _time(0.7)
    tones = sum(np.sin(2 * np.pi * f * time) for f in random.uniform(1800, 5200, size=4))
    return np.asarray(tones * _decay(0.7, 0.12), np.float32)


def _music(random: np.random.Generator) -> Samples:
    """Music on hold: plucked chords for three seconds."""
    notes = []
    for root in random.choice([220.0, 247.0, 262.0, 294.0, 330.0], size=6):
        time = _time(0.5)
        chord = sum(
            np.sin(2 * np.pi * root * ratio * k * time) / k
            for ratio in (1, 1.25, 1.5)
            for k in (1, 2)
        )
        notes.append(np.asarray(chord * _decay(0.5, 0.25), np.float32))
    return np.concatenate(notes)


_SOUNDS: Final[dict[str, Callable[[np.random.Generator], Samples]]] = {
    "cough": _cough,
    "throat": _throat,
    "slam": _slam,
    "clatter": _clatter,
    "clink": _clink,
    "music": _music,
}


def band(samples: Samples, low: float, high: float) -> Samples:
    """Keep the frequencies between ``low`` and ``high`` Hz, with soft edges."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    with np.errstate(divide="ignore"):
        below = 1.0 / (1.0 + (low / np.maximum(hertz, 1e-9)) ** 6)
    above = 1.0 / (1.0 + (hertz / high) ** 6)
    return np.fft.irfft(spectrum * below * above, len(samples)).astype(np.float32)


def over_line(samples: Samples, line: str) -> Samples:
    """The samples as a line delivers them: ``clear``, ``muffled`` or ``telephone``."""
    if line == "telephone":
        narrow = resample(band(samples, 250.0, 3500.0), RATE, TELEPHONE_RATE)
        return resample(decode_mulaw(encode_mulaw(narrow)), TELEPHONE_RATE, RATE)[: len(samples)]
    return muffled(samples) if line == "muffled" else samples


def muffled(samples: Samples) -> Samples:
    """The samples through a hand over the microphone, which also takes 6 dB."""
    return 0.5 * band(samples, 60.0, MUFFLED_HZ)


def far(samples: Samples, random: np.random.Generator, db: float) -> Samples:
    """The samples from across a room: ``db`` softer, duller, with an echo of 0.3 s."""
    echo = _white(random, 0.3) * _decay(0.3, 0.08) * 0.05
    echo[0] = 1.0
    length = len(samples) + len(echo) - 1
    room = np.fft.irfft(np.fft.rfft(samples, length) * np.fft.rfft(echo, length), length)
    wet = band(room.astype(np.float32), 120.0, 4000.0)
    return _leveled(wet, 10 ** (-db / 20) * float(np.abs(samples).max()))


def _leveled(samples: Samples, peak: float) -> Samples:
    gain = peak / max(float(np.abs(samples).max()), 1e-9)
    return np.asarray(samples * gain, np.float32)


def _time(seconds: float) -> Samples:
    return (np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def _nothing(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE), np.float32)


def _white(random: np.random.Generator, seconds: float) -> Samples:
    return random.standard_normal(int(seconds * RATE)).astype(np.float32)


def _decay(seconds: float, half: float) -> Samples:
    """A sharp beginning that fades, to 1/e in ``half`` seconds."""
    time = _time(seconds)
    return np.asarray(np.minimum(1.0, time / 0.008) * np.exp(-time / half), np.float32)


def _hump(seconds: float) -> Samples:
    return np.asarray(np.sin(np.pi * np.linspace(0, 1, int(seconds * RATE))), np.float32)


def _voiced(random: np.random.Generator, seconds: float, hertz: float) -> Samples:
    """Pulses of a larynx with some jitter, dulled by a throat."""
    out = _nothing(seconds)
    at = 0.0
    while at < len(out):
        out[int(at)] = 1.0
        at += RATE / hertz * random.uniform(0.85, 1.15)
    pulses = band(out, 60.0, 1800.0)
    return _leveled(pulses, 1.0)
