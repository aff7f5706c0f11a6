"""Recogniser that follows a script instead of the sound, for tests and trials without a model."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from asr.engine import RATE, Samples
from asr.recording import Recording
from asr.stable_prefix import StablePrefix
from asr.transcript import Transcript, Word

Script = Sequence[tuple[int, str]]
"""Words of one utterance: ``(samples that must have been fed, word)`` in rising order."""


def script(text: str, *, start: int = 0, samples_per_word: int = RATE // 3) -> Script:
    """Script with the words of ``text`` at equal distances.

    The first word is complete ``samples_per_word`` samples after sample ``start``.
    """
    words = text.split()
    return [(start + samples_per_word * (i + 1), word) for i, word in enumerate(words)]


class ScriptedTranscriber:
    """Transcriber whose `listen` returns the ``utterances`` in order, then empty ones."""

    def __init__(self, utterances: Iterable[Script] = (), *, max_seconds: float = 120.0) -> None:
        self._scripts = iter([tuple(utterance) for utterance in utterances])
        self._max_seconds = max_seconds
        self._lock = threading.Lock()

    def listen(self) -> ScriptedListening:
        """Begin the next scripted utterance."""
        with self._lock:
            words = next(self._scripts, ())
        return ScriptedListening(words, Recording(self._max_seconds))

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def close(self) -> None:
        """Nothing to free."""


class ScriptedListening:
    """One scripted utterance; the length of the sound fed to it decides which words are heard."""

    def __init__(self, words: Script, recording: Recording) -> None:
        self._script = words
        self._recording = recording
        self._prefix = StablePrefix()

    def feed(self, samples: Samples) -> None:
        """Append sound; see `asr.engine.Listening.feed`."""
        self._recording.append(samples)

    def hypothesis(self) -> Transcript:
        """Words that the script has up to the sound fed so far."""
        words = self._heard()
        text, stable = self._prefix.update(" ".join(word.text for word in words))
        return Transcript(text, stable, False, words, self._recording.seconds)

    def finish(self) -> Transcript:
        """The same words as a final transcript."""
        words = self._heard()
        text = " ".join(word.text for word in words)
        return Transcript(text, len(text), True, words, self._recording.seconds)

    def close(self) -> None:
        self._recording.close()

    def _heard(self) -> tuple[Word, ...]:
        fed = len(self._recording.since(0))
        starts = [0, *(position for position, _ in self._script)]
        return tuple(
            Word(word, start / RATE, position / RATE)
            for start, (position, word) in zip(starts, self._script, strict=False)
            if position <= fed
        )
