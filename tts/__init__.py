"""Text to speech: written text to words that a voice can say, and words to sound.

``tts.speakable``
    Written text to spoken words with the way back to the source; ``tts.markup`` takes off Markdown,
    ``tts.english`` holds the rules of English, ``tts.verbalize`` those of other languages by CLDR
    and num2words, ``tts.lexicon`` the user's own words.
``tts.segments``
    Cuts a growing reply into segments to speak.
``tts.engine``
    The contract of a voice: ``Synthesizer`` yields ``SpeechChunk``, sound with the place of its
    words.
``tts.piper``, ``tts.tone``
    The voices that come with the package. Piper runs in a worker process: ``tts.remote`` and
    ``tts.process`` are the parent's side, ``tts.serving`` and ``tts.piper_worker`` the worker's,
    ``tts.pipes`` the messages between them.
``tts.vits``, ``tts.alignment``, ``tts.pronunciation``, ``tts.silence``
    Parts of the worker: the streaming decoder, phonemes by word, other pronunciations, pauses.

Importing this package loads no engine; ``load`` imports the one asked for.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, cast

from tts.engine import SpeechChunk, Synthesizer, TtsError, WordSpan

# The official builds of ONNX Runtime report to their maker, unless this is set before they start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["SYNTHESIZERS", "SpeechChunk", "Synthesizer", "TtsError", "WordSpan", "load"]

SYNTHESIZERS = {
    "piper": "tts.piper:PiperSynthesizer",
    "tone": "tts.tone:ToneSynthesizer",
}
"""Shipped synthesisers: name -> "package.module:Class"."""


def load(name: str, **options: Any) -> Synthesizer:
    """Make the synthesiser of that name, or of a "package.module:Class" of your own.

    Raises:
        TtsError: the name is unknown, the class cannot be imported, or it refuses the options.
    """
    target = SYNTHESIZERS.get(name, name)
    module_name, colon, class_name = target.partition(":")
    if not colon:
        known = ", ".join(sorted(SYNTHESIZERS))
        raise TtsError(f"no synthesiser {name!r}; use {known} or package.module:Class")
    try:
        factory = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise TtsError(f"cannot import the synthesiser {target!r}: {error}") from error
    try:
        return cast(Synthesizer, factory(**options))
    except TypeError as error:
        raise TtsError(f"{target!r} does not take these options: {error}") from error
