from __future__ import annotations

from support.sounds import silence

from asr.engine import RATE
from asr.scripted import ScriptedTranscriber, script


def test_words_are_heard_when_their_sound_was_fed() -> None:
    listening = ScriptedTranscriber([[(RATE, "stop"), (2 * RATE, "now")]]).listen()
    listening.feed(silence(0.9))
    assert listening.hypothesis().text == ""
    listening.feed(silence(0.1))
    assert listening.hypothesis().text == "stop"
    listening.feed(silence(1.0))
    assert listening.finish().text == "stop now"


def test_words_carry_their_times() -> None:
    listening = ScriptedTranscriber([[(RATE, "stop"), (2 * RATE, "now")]]).listen()
    listening.feed(silence(2))
    assert [(w.text, w.start, w.end) for w in listening.finish().words] == [
        ("stop", 0.0, 1.0),
        ("now", 1.0, 2.0),
    ]


def test_a_word_is_stable_when_it_was_heard_twice() -> None:
    listening = ScriptedTranscriber([[(0, "stop")]]).listen()
    assert listening.hypothesis().stable_text == ""
    assert listening.hypothesis().stable_text == "stop"


def test_after_the_last_script_nothing_is_heard() -> None:
    transcriber = ScriptedTranscriber([[(0, "one")]])
    assert [transcriber.listen().finish().text for _ in range(2)] == ["one", ""]


def test_a_script_speaks_evenly() -> None:
    assert script("go home", start=100, samples_per_word=50) == [(150, "go"), (200, "home")]
