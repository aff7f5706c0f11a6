"""Words to sound. Importing this package loads no engine; ``load`` imports the one asked for."""

from __future__ import annotations

import importlib
from typing import Any, cast

from tts.engine import SpeechChunk, Synthesizer, TtsError, WordSpan

__all__ = ["SYNTHESIZERS", "SpeechChunk", "Synthesizer", "TtsError", "WordSpan", "load"]

SYNTHESIZERS = {
    "piper": "tts.piper:PiperSynthesizer",
    "tone": "tts.tone:ToneSynthesizer",
}
"""Shipped synthesisers: name -> "package.module:Class"."""


def load(name: str, **options: Any) -> Synthesizer:
    """Make the synthesiser of that name, or of a "package.module:Class" of your own.

    Raises:
        TtsError: there is none of that name, it cannot be imported, or it refuses the options.
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
