"""Speech recognition: transcribers of single utterances, independent of sessions and turns.

``load("whisper", model="base")`` makes a `Transcriber`, ``load("my_pkg.mod:MyClass")`` one of your
own. Importing this package loads no model library.
"""

from __future__ import annotations

import os
from importlib import import_module

from asr.engine import RATE, AsrError, Listening, Samples, Transcriber
from asr.stable_prefix import StablePrefix
from asr.transcript import Transcript, Word

# The official builds of ONNX Runtime report to their maker, unless this is set before they start.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

TRANSCRIBERS = {
    "whisper": "asr.whisper:WhisperTranscriber",
    "scripted": "asr.scripted:ScriptedTranscriber",
}
"""Shipped recognisers: name -> ``package.module:Class``."""

__all__ = [
    "RATE",
    "TRANSCRIBERS",
    "AsrError",
    "Listening",
    "Samples",
    "StablePrefix",
    "Transcriber",
    "Transcript",
    "Word",
    "load",
]


def load(name: str, **options: object) -> Transcriber:
    """Make a recogniser.

    Args:
        name: a key of `TRANSCRIBERS`, or ``package.module:Class``.
        options: arguments of its constructor.

    Raises:
        AsrError: there is no such recogniser, or it does not take these options.
    """
    path = TRANSCRIBERS.get(name, name)
    module_name, _, class_name = path.partition(":")
    if not module_name or not class_name:
        known = ", ".join(sorted(TRANSCRIBERS))
        raise AsrError(f"no recogniser {name!r}: use one of {known}, or package.module:Class")
    try:
        factory = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise AsrError(f"cannot load the recogniser {path!r}: {error}") from error
    try:
        transcriber: Transcriber = factory(**options)
    except TypeError as error:
        raise AsrError(f"the recogniser {path!r} does not take these options: {error}") from error
    return transcriber
