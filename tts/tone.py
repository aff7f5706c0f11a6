"""A synthesiser without a model: one beep per word, for tests and for trying a pipeline."""

from __future__ import annotations

import threading
from collections.abc import Generator

import numpy as np

from tts.engine import SpeechChunk, TtsError, WordSpan, check_text, has_sound

_WORD_SECONDS = 0.08
_GAP_SECONDS = 0.04
_LOWEST_HZ = 300.0
_PEAK = 0.3


class ToneSynthesizer:
    """One beep per word, deterministic: the letters give the pitch; word places are exact."""

    def __init__(self, *, rate: int = 16000) -> None:
        self._rate = rate
        self._closed = threading.Event()

    @property
    def rate(self) -> int:
        return self._rate

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        check_text(text)
        return self._beeps(text)

    def warm_up(self) -> None:
        """Return at once: a tone needs no model."""

    def close(self) -> None:
        self._closed.set()

    def _beeps(self, text: str) -> Generator[SpeechChunk, None, None]:
        for word in text.split() if has_sound(text) else ():
            if self._closed.is_set():
                raise TtsError("the tone synthesiser was closed; make a new one")
            yield self._beep(word)

    def _beep(self, word: str) -> SpeechChunk:
        length, gap = round(_WORD_SECONDS * self._rate), round(_GAP_SECONDS * self._rate)
        pitch = _LOWEST_HZ + sum(map(ord, word)) % 1000
        samples = np.zeros(length + gap, np.float32)
        # A Hann window: beeps that start and stop at once would click.
        phase = 2 * np.pi * pitch * np.arange(length) / self._rate
        samples[:length] = _PEAK * np.hanning(length) * np.sin(phase)
        return SpeechChunk(samples, self._rate, (WordSpan(word, 0, length),))
