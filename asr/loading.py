"""Loading of a Whisper model and its tokenizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ctranslate2
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer

from asr.engine import AsrError

_MOST_THREADS = 4


def load_model(directory: Path, device: str, compute_type: str, threads: int | None) -> Any:
    """Load a converted model; see `asr.whisper.WhisperTranscriber`.

    Raises:
        AsrError: the device, the threads or a file cannot be used.
    """
    if threads is not None and threads < 1:
        raise AsrError("threads must be at least 1")
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    if device.startswith("cuda") and not ctranslate2.get_cuda_device_count():
        raise AsrError("CTranslate2 sees no CUDA device: use the device cpu or auto")
    if compute_type == "auto":
        compute_type = "float16" if device == "cuda" else "int8"
    try:
        return WhisperModel(
            str(directory),
            device=device,
            compute_type=compute_type,
            cpu_threads=threads or _default_threads(),
            local_files_only=True,
        )
    except Exception as error:  # tokenizers raises a bare Exception for a damaged file
        raise AsrError(
            f"cannot load the Whisper model in {directory} on {device} as {compute_type}: "
            f"{error}. If the file is damaged, delete the directory and fetch the model again"
        ) from error


def _default_threads() -> int:
    return max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // 2))


def load_tokenizer(model: Any, language: str) -> Tokenizer:
    """The tokenizer of a loaded model, for a language as Whisper names it.

    Raises:
        AsrError: the model does not know the language.
    """
    if language not in model.supported_languages:
        raise AsrError(
            f"this Whisper model does not know the language {language!r}: use one of "
            f"{', '.join(model.supported_languages)}"
        )
    return Tokenizer(
        model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language
    )
