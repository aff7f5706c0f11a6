"""The diffusion engine: prompt tokens to reply tokens by denoising.

`Engine.load` opens a checkpoint: `model` finds its files, builds the transformer and fills it
with weights. `Engine.submit` reads a prompt into a cache and adds a reply to a batch: `decode`
plans forward passes and commits positions by a rule (`config` has the options), on a CPU through
the kernels of `cpu`, on a GPU in the rounds of `gpu` with the kernels of `ops`. The reply comes
out as `DenoiseStep`s of text that is final. `tasks` builds on the engine (templates, JSON, guided
acceptance), `adapt` trains adapters for it, `bench` measures it.

Importing this package does not import torch.
"""

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
