"""A voice of your own: every word is a whistle, higher the longer it is.

onebreath demo --tts examples.own_voice:Whistle
onebreath serve --tts examples.own_voice:Whistle
"""

from collections.abc import Generator

import numpy as np

from tts import SpeechChunk, WordSpan

RATE = 22050
SECONDS = 0.25


class Whistle:
    """A `Synthesizer`: loaded once, without arguments, shared by all calls."""

    rate = RATE

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        for word in text.split():
            time = np.arange(int(SECONDS * RATE)) / RATE
            tone = np.sin(2 * np.pi * (300 + 60 * len(word)) * time) * np.hanning(len(time))
            samples = (0.3 * tone).astype(np.float32)
            # The word and where it lies: an interrupted reply is kept up to the last heard word.
            yield SpeechChunk(samples, RATE, (WordSpan(word, 0, len(samples)),))

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def close(self) -> None:
        """Nothing to free."""
