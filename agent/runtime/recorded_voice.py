"""A voice that has its fixed sentences recorded, for the times when it cannot speak."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence

from agent.config.settings import CallSettings
from tts.engine import SpeechChunk, Synthesizer, TtsError
from tts.segments import Segmenter

log = logging.getLogger("onebreath.voice")


class RecordedVoice:
    """Speaks through ``voice``; sentences recorded in ``warm_up`` are spoken even if it fails.

    Args:
        voice: the synthesiser; closed with this one.
        sentences: the agent's fixed sentences.
    """

    def __init__(self, voice: Synthesizer, sentences: Sequence[str]) -> None:
        self.voice = voice
        self._sentences = sentences
        self._recorded: dict[str, tuple[SpeechChunk, ...]] = {}
        self._closed = False

    @property
    def rate(self) -> int:
        return self.voice.rate

    @property
    def ready(self) -> bool:
        """Whether the voice can speak more than what is recorded."""
        return bool(getattr(self.voice, "ready", True))

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        recorded = self._recorded.get(text)
        if recorded is None:
            return self.voice.speak(text)
        return self._speak_fixed(text, recorded)

    def _speak_fixed(
        self, text: str, recorded: tuple[SpeechChunk, ...]
    ) -> Generator[SpeechChunk, None, None]:
        begun = False
        if self.ready:
            try:
                for chunk in self.voice.speak(text):
                    begun = True
                    yield chunk
                return
            except TtsError as error:
                if begun:
                    raise
                log.warning("a recording stands in for the voice: %s", error)
        yield from recorded

    def warm_up(self) -> None:
        """Warm the voice up and record the sentences, segment by segment as a reply is cut."""
        self.warm_up_first()
        for _ in self.warm_up_rest():
            pass

    def warm_up_first(self) -> None:
        """Warm the voice up; nothing is recorded yet."""
        self.voice.warm_up()

    def warm_up_rest(self) -> Iterator[None]:
        """Record the sentences, a segment at a time."""
        for segment in (part for sentence in self._sentences for part in segments(sentence)):
            try:
                self._recorded[segment] = tuple(self.voice.speak(segment))
            except TtsError:
                if self._closed:
                    return
                raise
            yield

    def close(self) -> None:
        self._closed = True
        self.voice.close()


def segments(sentence: str) -> list[str]:
    """The texts in which a fixed sentence reaches the voice."""
    from tts.speakable import speakable  # whose rules take a while to compile

    cutter = Segmenter()
    pieces = [speakable(piece).text for piece in (*cutter.feed(sentence), *cutter.flush())]
    return [piece for piece in pieces if piece]


def fixed_sentences(settings: CallSettings) -> list[str]:
    """The sentences that the agent says on its own."""
    said = (
        settings.apology,
        settings.goodbye,
        settings.greeting,
        settings.idle_prompt if settings.idle_after else None,
    )
    return [sentence for sentence in said if sentence]
