"""Whisper on CTranslate2, with a window as short as the utterance allows.

faster-whisper loads the model and computes the mel features; encoder and decoder are called
directly, because its ``transcribe`` always pads to 30 s (see `asr.window`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from asr.checkpoint import checkpoint_directory
from asr.engine import RATE, AsrError, Samples
from asr.gates import (
    MIN_SPEECH_SECONDS,
    Decoded,
    is_doubtful,
    is_hallucination,
    is_loop,
    max_tokens,
)
from asr.glance import GLANCE, GLANCE_TOKENS, LONGEST_GLANCE, folded
from asr.loading import load_model, load_tokenizer
from asr.padding import SURE_LOGPROB, EncodedPadding
from asr.pieces import LONGEST, first_cut
from asr.recording import Recording
from asr.speech import speech_seconds
from asr.stable_prefix import StablePrefix
from asr.transcript import Transcript
from asr.window import FRAMES_PER_SECOND, FULL, SHORTEST, fit, window_frames

T = TypeVar("T")

_LAST_RESORT_NGRAM = 3


class WhisperTranscriber:
    """A Whisper model shared by all sessions; one decode runs at a time, others wait."""

    def __init__(
        self,
        model: str | Path = "base",
        *,
        language: str = "en",
        compute_type: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        beam: int = 2,
        shortest_window: float = SHORTEST / FRAMES_PER_SECOND,
        max_seconds: float = 120.0,
    ) -> None:
        """Load a model.

        Args:
            model: a directory, or a name that faster-whisper knows.
            language: language of the speech, as Whisper names it.
            compute_type: CTranslate2's type of the weights; "auto" is float16 on CUDA, else int8.
            device: "auto", "cpu" or "cuda".
            threads: CPU threads of encoder and decoder; by default half the cores, at most four.
                On two cores a second thread gains nothing, because it slows the decoder down as
                much as it speeds the encoder up.
            beam: width of the decoder's search; two has most of the gain of five over one.
            shortest_window: shortest window of the encoder in seconds (see `asr.window`).
            max_seconds: bound on one utterance.

        Raises:
            AsrError: the model or an option cannot be used.
        """
        if beam < 1:
            raise AsrError("beam must be at least 1")
        shortest = round(shortest_window * FRAMES_PER_SECOND)
        if not 0 < shortest <= FULL:
            raise AsrError("shortest_window must be more than 0 s and at most 30 s")
        if max_seconds <= 0:
            raise AsrError("max_seconds must be positive")
        self._model = load_model(checkpoint_directory(model), device, compute_type, threads)
        self._tokenizer = load_tokenizer(self._model, language)
        self._prompt = [*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]
        self._beam = beam
        self._shortest = shortest
        self.second_opinions = 0
        """Number of utterances that were decoded again in the full window."""
        self._max_seconds = max_seconds

    def listen(self) -> WhisperListening:
        """Begin an utterance."""
        return WhisperListening(self, Recording(self._max_seconds))

    def transcribe(self, samples: Samples) -> str:
        """Transcribe at most 30 s of 16 kHz float32 mono; the text is empty without speech.

        A transcript that a guard of `asr.gates` doubts is decoded again in the full window.

        Raises:
            AsrError: the sound is longer, or the engine failed.
        """
        return _last(self.hear(samples, careful=True))

    def guess(self, samples: Samples) -> str:
        """Transcribe in one quick decode; the text is empty if it loops. See `transcribe`."""
        return _last(self.hear(samples, careful=False))

    def glance(self, samples: Samples) -> str:
        """The first words of at most 3 s of 16 kHz float32 mono, in a quick decode of its own.

        See `asr.glance`.

        Raises:
            AsrError: the engine failed.
        """
        if speech_seconds(samples) < MIN_SPEECH_SECONDS:
            return ""
        features = self._features(samples)
        frames = window_frames(features.shape[1], features.shape[0], GLANCE)
        try:
            decoded = self._decode(self._encode(features, frames), GLANCE_TOKENS, beam=1)
        except RuntimeError as error:
            raise AsrError(f"Whisper failed: {error}") from error
        return "" if is_hallucination(decoded) else folded(decoded.text)

    def warm_up(self) -> None:
        """Encode and decode silence in the shortest window.

        The full window costs a second of CPU, and its first decode was measured to take no longer
        than later ones.
        """
        silence = np.zeros(RATE, dtype=np.float32)
        speech_seconds(silence)
        features = self._features(silence)
        self._decode(self._encode(features, self._window(features)), max_tokens(1.0))

    def close(self) -> None:
        """Free the model's memory; a decode after this loads it again."""
        self._model.model.unload_model()

    def _features(self, samples: Samples) -> NDArray[np.float32]:
        """Normalised log-mel ``[n_mels, frames]``."""
        features: NDArray[np.float32] = self._model.feature_extractor(samples)
        return features

    def hear(
        self,
        samples: Samples,
        *,
        careful: bool,
        padding: EncodedPadding | None = None,
        urgent: bool = False,
    ) -> Generator[str | None, None, None]:
        """`transcribe` if ``careful``, else `guess`, in steps; the text comes last.

        A pause that was none is often known to be so before the decoder begins.

        Args:
            padding: what the encoder made of the silence behind earlier sound of this utterance;
                a whole window renews it.
            urgent: whether the window is completed with ``padding``, where that is possible.
        """
        if len(samples) > LONGEST:
            raise AsrError("more than 30 s at once: cut it into pieces, as listen() does")
        if speech_seconds(samples) < MIN_SPEECH_SECONDS:
            yield ""
            return
        features, tokens = self._features(samples), max_tokens(len(samples) / RATE)
        try:
            decoded = yield from self._first_opinion(features, tokens, padding, urgent)
            # A first decode in the full window needs a second one only if it loops.
            doubted = is_loop if self._window(features) == FULL else is_doubtful
            if careful and doubted(decoded):
                yield None
                encoded = self._encode(features, FULL)
                yield None
                decoded = self._second_opinion(encoded, tokens)
        except RuntimeError as error:  # what CTranslate2 raises for everything
            raise AsrError(f"Whisper failed: {error}") from error
        unusable = is_hallucination(decoded) or (is_loop(decoded) and not careful)
        yield "" if unusable else decoded.text

    def _first_opinion(
        self,
        features: NDArray[np.float32],
        tokens: int,
        padding: EncodedPadding | None,
        urgent: bool,
    ) -> Generator[None, None, Decoded]:
        """Decode the shortest window; see `hear`.

        A window that was completed with kept padding is encoded as a whole if its words are
        doubtful.
        """
        n_mels, speech_frames = features.shape
        whole = self._window(features)
        if padding is not None and urgent:
            frames = padding.frames(speech_frames, n_mels, whole)
            if frames is not None:
                encoded = padding.behind(self._encode(features, frames))
                yield None
                decoded = self._decode(encoded, tokens)
                if decoded.avg_logprob >= SURE_LOGPROB and not is_doubtful(decoded):
                    return decoded
                yield None
        encoded = self._encode(features, whole)
        if padding is not None:
            padding.keep(encoded, speech_frames)
        yield None
        return self._decode(encoded, tokens)

    def _second_opinion(self, encoded: Any, tokens: int) -> Decoded:
        """Decode the full window; if that loops, too, once more without repeated trigrams."""
        self.second_opinions += 1
        decoded = self._decode(encoded, tokens)
        if is_loop(decoded):
            decoded = self._decode(encoded, tokens, _LAST_RESORT_NGRAM)
        return decoded

    def _window(self, features: NDArray[np.float32]) -> int:
        n_mels, speech_frames = features.shape
        return window_frames(speech_frames, n_mels, self._shortest)

    def _encode(self, features: NDArray[np.float32], frames: int) -> Any:
        return self._model.encode(fit(features, frames))

    def _decode(
        self, encoded: Any, tokens: int, no_repeat_ngram: int = 0, *, beam: int | None = None
    ) -> Decoded:
        # CTranslate2 stops at half of max_length, or at max_length less the prompt if that is less.
        max_length = max(2 * tokens, len(self._prompt) + tokens)
        result = self._model.model.generate(
            encoded,
            [self._prompt],
            beam_size=beam or self._beam,
            no_repeat_ngram_size=no_repeat_ngram,
            max_length=max_length,
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        ids = result.sequences_ids[0]
        # The score is a mean over the tokens of the text; the end of text counts as well.
        avg_logprob = result.scores[0] * len(ids) / (len(ids) + 1)
        return Decoded(
            text=self._tokenizer.decode(ids).strip(),
            avg_logprob=avg_logprob,
            no_speech_prob=result.no_speech_prob,
            complete=len(ids) < tokens,
        )


class WhisperListening:
    """One utterance; utterances of more than 30 s are decoded piece by piece.

    More sound may be fed after `finish`, and `finish` called again: a pause that was not the end.

    Attributes:
        padding: what the encoder made of the silence behind its sound so far.
    """

    def __init__(self, transcriber: WhisperTranscriber, recording: Recording) -> None:
        self._transcriber = transcriber
        self._recording = recording
        self._prefix = StablePrefix()
        self.padding = EncodedPadding()
        self._heard: list[str] = []
        self._cut = 0
        self._last: Transcript | None = None
        self._last_length = -1

    @property
    def seconds(self) -> float:
        """Length of the sound fed so far."""
        return self._recording.seconds

    def feed(self, samples: Samples) -> None:
        """Append sound; see `asr.engine.Listening.feed`."""
        self._recording.append(samples)

    def hypothesis(self) -> Transcript:
        """Decode the sound so far in one quick pass; see `asr.engine.Listening.hypothesis`."""
        return _last(self.steps(final=False))

    def glance(self) -> Transcript:
        """Guess the first words; see `asr.engine.GlancingListening.glance`."""
        sound = self._recording.since(0)
        if len(sound) > LONGEST_GLANCE * RATE:
            return self.hypothesis()
        text = self._transcriber.glance(sound)
        return Transcript(text, stable=0, final=False, audio_end=len(sound) / RATE)

    def skim(self) -> Transcript:
        """Decode without a second opinion; see `asr.engine.GlancingListening.skim`."""
        tail = self._tail()
        words = self._transcriber.hear(tail, careful=False, padding=self.padding, urgent=True)
        text = _last(words) or ""
        return self._transcript(self._join(text), self._cut + len(tail), final=True)

    def finish(self) -> Transcript:
        """Decode the whole utterance; see `asr.engine.Listening.finish`."""
        return _last(self.steps(final=True))

    def steps(self, *, final: bool) -> Generator[Transcript | None, None, None]:
        """Decode in steps; see `asr.engine.SteppedListening.steps`."""
        tail = self._tail()
        length = self._cut + len(tail)
        if not final and self._last is not None and self._last_length == length:
            yield self._last
            return
        words = self._transcriber.hear(tail, careful=final, padding=self.padding, urgent=final)
        for text in words:
            yield None if text is None else self._transcript(self._join(text), length, final)

    def _transcript(self, text: str, length: int, final: bool) -> Transcript:
        if final:
            return Transcript(text, stable=len(text), final=True, audio_end=length / RATE)
        text, stable = self._prefix.update(text)
        self._last = Transcript(text, stable, final=False, audio_end=length / RATE)
        self._last_length = length
        return self._last

    def close(self) -> None:
        """Free the sound."""
        self._recording.close()

    def _tail(self) -> Samples:
        """The last piece; the pieces before it are decoded once and kept."""
        tail = self._recording.since(self._cut)
        while (cut := first_cut(tail)) is not None:
            self._heard.append(self._transcriber.transcribe(tail[:cut]))
            self._cut += cut
            self.padding = EncodedPadding()
            tail = tail[cut:]
        return tail

    def _join(self, last: str) -> str:
        return " ".join(text for text in (*self._heard, last) if text)


def _last(steps: Iterable[T | None]) -> T:
    """Take all steps; the last one is the result."""
    result = None
    for result in steps:  # noqa: B007
        pass
    assert result is not None
    return result
