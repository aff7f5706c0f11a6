"""What the recogniser loses over a telephony line."""

import jiwer
import numpy as np
import pytest
from support.sounds import LIBRIVOX, QUESTIONS, in_a_call, librivox, question
from whisper_normalizer.english import EnglishTextNormalizer

import asr
from agent.audio.g711 import decode_mulaw, encode_mulaw
from agent.audio.samples import StreamResampler

WIDE, NARROW = 16_000, 8000
ALLOWED = 0.03


def over_telephony(sound):
    """16 kHz to mu-law at 8 kHz and back, in frames of 20 ms, as a call has it."""
    down, up = StreamResampler(WIDE, NARROW), StreamResampler(NARROW, WIDE)
    heard = []
    for at in range(0, len(sound), WIDE // 50):
        codes = encode_mulaw(down.push(sound[at : at + WIDE // 50]))
        heard.append(up.push(decode_mulaw(codes)))
    return np.concatenate([*heard, up.flush()])


@pytest.mark.model
@pytest.mark.slow
def test_words_are_understood_over_mulaw_nearly_as_well(whisper_base_dir):
    recogniser = asr.load("whisper", model=whisper_base_dir, language="en", threads=1)
    normalize = EnglishTextNormalizer()
    texts = LIBRIVOX | QUESTIONS
    expected = [normalize(text) for text in texts.values()]
    sounds = [in_a_call(librivox(n) if n in LIBRIVOX else question(n)) for n in texts]

    def understood(sound):
        listening = recogniser.listen()
        listening.feed(sound)
        try:
            return normalize(listening.finish().text)
        finally:
            listening.close()

    try:
        wide = [understood(sound) for sound in sounds]
        narrow = [understood(over_telephony(sound)) for sound in sounds]
    finally:
        recogniser.close()
    wide_rate, narrow_rate = jiwer.wer(expected, wide), jiwer.wer(expected, narrow)
    print(f"word error rate: {wide_rate:.3f} at 16 kHz, {narrow_rate:.3f} over mu-law")
    assert narrow_rate <= wide_rate + ALLOWED
