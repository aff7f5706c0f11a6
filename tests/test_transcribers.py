"""The contract of `asr.engine`, asked of every recogniser."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.sounds import LIBRIVOX, in_a_call, librivox, silence

from asr.engine import RATE, AsrError, Transcriber
from asr.scripted import ScriptedTranscriber, script
from asr.whisper import WhisperTranscriber

FIRST, SECOND = "0880", "0930"
"""The recordings that every recogniser hears, in this order of `listen`."""


def scripted() -> ScriptedTranscriber:
    words = [
        script(LIBRIVOX[name], start=RATE // 2, samples_per_word=RATE // 4)
        for name in (FIRST, SECOND)
    ]
    return ScriptedTranscriber(words, max_seconds=20)


@pytest.fixture(scope="module")
def whisper(whisper_base_dir: Path) -> Iterator[WhisperTranscriber]:
    transcriber = WhisperTranscriber(whisper_base_dir, max_seconds=20)
    yield transcriber
    transcriber.close()


@pytest.fixture(params=["scripted", pytest.param("whisper", marks=pytest.mark.model)])
def transcriber(request: pytest.FixtureRequest) -> Transcriber:
    if request.param == "scripted":
        return scripted()
    loaded: Transcriber = request.getfixturevalue("whisper")
    return loaded


def content(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


class TestTranscriber:
    def test_it_hears_the_words(self, transcriber: Transcriber) -> None:
        listening = transcriber.listen()
        sound = in_a_call(librivox(FIRST))
        listening.feed(sound)
        heard = listening.finish()
        assert content(heard.text) == content(LIBRIVOX[FIRST])
        assert heard.final
        assert heard.stable == len(heard.text)
        assert heard.audio_end == pytest.approx(len(sound) / RATE)

    def test_nothing_fed_is_nothing_heard(self, transcriber: Transcriber) -> None:
        listening = transcriber.listen()
        assert listening.hypothesis().text == ""
        assert listening.finish().text == ""

    def test_hypotheses_settle_word_by_word(self, transcriber: Transcriber) -> None:
        listening = transcriber.listen()
        before, ends = "", []
        for chunk in np.array_split(in_a_call(librivox(FIRST)), 4):
            listening.feed(chunk)
            hypothesis = listening.hypothesis()
            assert not hypothesis.final
            assert hypothesis.stable_text.startswith(before)
            before = hypothesis.stable_text
            ends.append(hypothesis.audio_end)
        assert len(content(before)) >= 4
        assert ends == sorted(set(ends))

    def test_a_pause_that_was_not_the_end(self, transcriber: Transcriber) -> None:
        sound = in_a_call(librivox(FIRST))
        listening = transcriber.listen()
        listening.feed(sound[: len(sound) // 2])
        paused = listening.finish()
        listening.feed(sound[len(sound) // 2 :])
        assert len(listening.finish().text) > len(paused.text) > 0

    def test_two_callers_do_not_mix(self, transcriber: Transcriber) -> None:
        first, second = transcriber.listen(), transcriber.listen()
        chunks = [np.array_split(in_a_call(librivox(name)), 5) for name in (FIRST, SECOND)]
        for one, other in zip(*chunks, strict=True):
            first.feed(one)
            second.feed(other)
        second.hypothesis()
        assert content(first.finish().text) == content(LIBRIVOX[FIRST])
        assert content(second.finish().text) == content(LIBRIVOX[SECOND])

    def test_two_threads_may_decode_at_once(self, transcriber: Transcriber) -> None:
        listenings = [transcriber.listen(), transcriber.listen()]
        for listening, name in zip(listenings, (FIRST, SECOND), strict=True):
            listening.feed(in_a_call(librivox(name)))
        with ThreadPoolExecutor(2) as pool:
            heard = list(pool.map(lambda listening: listening.finish().text, listenings))
        assert [content(text) for text in heard] == [
            content(LIBRIVOX[name]) for name in (FIRST, SECOND)
        ]

    def test_a_closed_utterance_says_so(self, transcriber: Transcriber) -> None:
        listening = transcriber.listen()
        listening.feed(silence(0.1))
        listening.close()
        listening.close()
        for call in (listening.hypothesis, listening.finish):
            with pytest.raises(AsrError, match="closed"):
                call()
        with pytest.raises(AsrError, match="closed"):
            listening.feed(silence(0.1))

    def test_bad_sound_is_refused(self, transcriber: Transcriber) -> None:
        listening = transcriber.listen()
        with pytest.raises(AsrError, match="float32"):
            listening.feed(np.zeros(160, dtype=np.int16))  # type: ignore[arg-type]
        with pytest.raises(AsrError, match="shape"):
            listening.feed(np.zeros((160, 2), dtype=np.float32))

    def test_an_utterance_is_bounded(self, transcriber: Transcriber) -> None:
        listening = transcriber.listen()
        listening.feed(silence(20))
        with pytest.raises(AsrError, match="longer than 20 s"):
            listening.feed(silence(0.02))

    def test_it_warms_up(self, transcriber: Transcriber) -> None:
        transcriber.warm_up()
