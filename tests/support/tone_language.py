"""A language of tones: every word is a beep of its own pitch, so sound can be read back.

The scripted caller speaks it and the scripted recogniser understands what reached it, no more and
no less: a start that was cut off is missing, sound fed twice is there twice. The scripted voice
speaks a second one in a lower band, so the ear knows which words of a reply were heard.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

GAP_SECONDS = 0.04
"""Silence after each word, shorter than any pause that means something."""
SPACING_HZ = 30.0
WINDOW_SECONDS, HOP_SECONDS = 0.04, 0.01


@dataclass(frozen=True, slots=True)
class SoundWord:
    """One word and where its tone lies, in seconds."""

    text: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


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

    def read(
        self, samples: Samples, rate: int, whole: float = 0.6, quietest: float | None = None
    ) -> list[SoundWord]:
        """The words in ``samples``.

        Args:
            whole: a word of which less than this part is there is none.
            quietest: amplitude that can still be understood; None: a tone in half of a window.
        """
        found: list[SoundWord] = []
        for word in self._runs(samples, rate, quietest or 0.4 * self.peak):
            before = found[-1] if found else None
            if before is not None and self._one_word(before, word):
                word = SoundWord(word.text, before.start, before.end + word.seconds)
                found.pop()
            found.append(word)
        shortest = whole * self.tone_seconds - HOP_SECONDS / 2
        return [word for word in found if word.seconds >= shortest]

    def _one_word(self, before: SoundWord, word: SoundWord) -> bool:
        """Whether two runs are one word with a hole in it, as where a player had to wait."""
        both = before.seconds + word.seconds
        return before.text == word.text and both <= 1.15 * self.tone_seconds

    def _runs(self, samples: Samples, rate: int, quietest: float) -> Iterator[SoundWord]:
        place = 0
        for number, run in groupby(self._labels(samples, rate, quietest)):
            length = len(list(run))
            if number is not None:
                start = place * HOP_SECONDS + WINDOW_SECONDS / 2
                yield SoundWord(self._words[number], start, start + length * HOP_SECONDS)
            place += length

    def _labels(self, samples: Samples, rate: int, quietest: float) -> list[int | None]:
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
                known = number < len(self._words) and amplitude > quietest
                labels.append(number if known else None)
        return labels


def callers_tongue(word_seconds: float) -> ToneLanguage:
    """What the scripted caller speaks and the scripted recogniser understands."""
    return ToneLanguage(3000.0, 6900.0, word_seconds, peak=0.5)


def agents_tongue(word_seconds: float) -> ToneLanguage:
    """What the scripted voice speaks."""
    return ToneLanguage(400.0, 2900.0, word_seconds, peak=0.3)
