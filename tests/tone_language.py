"""A language of tones: every word is a beep of its own pitch, so sound can be read back.

The scripted caller speaks it and the scripted recogniser understands what reached it, no more and
no less: a start that was cut off is missing, sound fed twice is there twice. The scripted voice
speaks a second one in a lower band, so the ear knows which words of a reply were heard.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

GAP_SECONDS = 0.04
"""Silence after each word, shorter than any pause that means something."""
SPACING_HZ = 30.0
WINDOW_SECONDS, HOP_SECONDS = 0.04, 0.01
QUIETEST = 0.01
"""Amplitude under which a tone is not heard: -40 dBFS."""


@dataclass(frozen=True, slots=True)
class SoundWord:
    """One word and where its tone lies, in seconds."""

    text: str
    start: float
    end: float


@dataclass
class ToneLanguage:
    """Words to sound and back.

    Args:
        lowest, highest: the band in Hz; one word for every 30 Hz.
        word_seconds: length of a word with the gap after it.
        peak: amplitude of the tones.
    """

    lowest: float
    highest: float
    word_seconds: float
    peak: float
    _words: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, text: str, rate: int) -> Samples:
        """The sound of ``text``, mono at ``rate``."""
        beeps = [self._beep(self._pitch(word), rate) for word in text.split()]
        return np.concatenate([np.zeros(0, np.float32), *beeps])

    @property
    def tone_seconds(self) -> float:
        """Length of a word without the gap after it."""
        return self.word_seconds - GAP_SECONDS

    def _pitch(self, word: str) -> float:
        with self._lock:
            if word not in self._words:
                self._words.append(word)
            pitch = self.lowest + SPACING_HZ * self._words.index(word)
        if pitch > self.highest:
            raise ValueError(f"more different words than fit under {self.highest:.0f} Hz: {word}")
        return pitch

    def _beep(self, pitch: float, rate: int) -> Samples:
        length, gap = round(self.tone_seconds * rate), round(GAP_SECONDS * rate)
        tone = self.peak * np.sin(2 * np.pi * pitch * np.arange(length) / rate)
        ramp = np.linspace(0, 1, round(0.005 * rate))  # tones that start at once click
        tone[: len(ramp)] *= ramp
        tone[-len(ramp) :] *= ramp[::-1]
        return np.concatenate([tone, np.zeros(gap)]).astype(np.float32)

    def read(self, samples: Samples, rate: int, whole: float = 0.6) -> list[SoundWord]:
        """The words in ``samples``; one of which less than the part ``whole`` is there is none."""
        found = []
        place = 0
        for number, run in groupby(self._labels(samples, rate)):
            length = len(list(run))
            seconds = length * HOP_SECONDS
            if number is not None and seconds >= whole * self.tone_seconds - HOP_SECONDS / 2:
                start = place * HOP_SECONDS + WINDOW_SECONDS / 2
                found.append(SoundWord(self._words[number], start, start + seconds))
            place += length
        return found

    def _labels(self, samples: Samples, rate: int) -> list[int | None]:
        """For every hop the number of the word that sounds there."""
        window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
        if len(samples) < window:
            return []
        frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
        shape = np.hanning(window)
        size = 1 << int(np.ceil(np.log2(rate / 8)))  # bins of some 6 Hz
        hertz = np.fft.rfftfreq(size, 1 / rate)
        band = (hertz >= self.lowest - SPACING_HZ / 2) & (hertz <= self.highest + SPACING_HZ / 2)
        labels: list[int | None] = []
        for block in np.array_split(frames, max(1, len(frames) // 500)):
            spectrum = np.abs(np.fft.rfft(block * shape, size))[:, band] * (2 / shape.sum())
            peaks = spectrum.argmax(axis=1)
            for amplitude, pitch in zip(spectrum.max(axis=1), hertz[band][peaks], strict=True):
                number = round((pitch - self.lowest) / SPACING_HZ)
                # Less than half of a window: the word has ended or not begun.
                known = number < len(self._words) and amplitude > max(QUIETEST, 0.4 * self.peak)
                labels.append(number if known else None)
        return labels


def callers_tongue(word_seconds: float) -> ToneLanguage:
    """What the scripted caller speaks and the scripted recogniser understands."""
    return ToneLanguage(3000.0, 6900.0, word_seconds, peak=0.5)


def agents_tongue(word_seconds: float) -> ToneLanguage:
    """What the scripted voice speaks."""
    return ToneLanguage(400.0, 2900.0, word_seconds, peak=0.3)
