"""Tokens to tokens by denoising: the diffusion engine. Importing this imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.errors import (
    DllmError,
    ModelFileError,
    OptionError,
    PromptTooLongError,
    QueueFullError,
    UnsupportedModelError,
    WeightsError,
)

if TYPE_CHECKING:
    from dllm_core.decode.stats import DenoiseStats, DenoiseStep, PrefillStats, Reply
    from dllm_core.engine import Engine
    from dllm_core.model.cache import PromptCache

__all__ = [
    "DecodeOptions",
    "DenoiseStats",
    "DenoiseStep",
    "DllmError",
    "Engine",
    "ModelConfig",
    "ModelFileError",
    "OptionError",
    "PrefillStats",
    "PromptCache",
    "PromptTooLongError",
    "QueueFullError",
    "Reply",
    "UnsupportedModelError",
    "WeightsError",
]

_LAZY = {
    "DenoiseStats": "dllm_core.decode.stats",
    "DenoiseStep": "dllm_core.decode.stats",
    "Engine": "dllm_core.engine",
    "PrefillStats": "dllm_core.decode.stats",
    "PromptCache": "dllm_core.model.cache",
    "Reply": "dllm_core.decode.stats",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
