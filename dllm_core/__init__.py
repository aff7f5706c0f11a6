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
    from dllm_core.cache import PromptCache
    from dllm_core.engine import Engine
    from dllm_core.stats import DenoiseStats, DenoiseStep, PrefillStats, Reply

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
    "DenoiseStats": "dllm_core.stats",
    "DenoiseStep": "dllm_core.stats",
    "Engine": "dllm_core.engine",
    "PrefillStats": "dllm_core.stats",
    "PromptCache": "dllm_core.cache",
    "Reply": "dllm_core.stats",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
