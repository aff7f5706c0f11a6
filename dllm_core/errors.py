"""Errors of the engine.

DllmError
├── ModelFileError        the file or directory is missing, truncated or of another kind
├── UnsupportedModelError the model is readable, but of a family the engine does not know
├── AdapterError          an adapter is damaged, of another kind or for another base
├── DataError             training data cannot be used
├── TooLargeError         a training run does not fit the memory
├── WeightsError          tensors are missing, unexpected or of the wrong shape
├── OptionError           options contradict each other or the model
├── PromptTooLongError    prompt and canvas do not fit the context
├── PagesFullError        the GPU has no memory for another sequence
└── QueueFullError        more requests wait than the batch permits
"""

from __future__ import annotations


class DllmError(Exception):
    """Base of every error the engine raises on purpose; the message says what to do."""


class ModelFileError(DllmError):
    """A model file is missing, truncated or of another format than its name says."""


class UnsupportedModelError(DllmError):
    """The checkpoint belongs to a family the engine has no configuration for."""


class WeightsError(DllmError):
    """The tensors of a checkpoint do not match its configuration."""


class AdapterError(DllmError):
    """An adapter is damaged, of an unsupported kind, or belongs to another base."""


class DataError(DllmError):
    """Training data cannot be used; the message names file and line."""


class TooLargeError(DllmError):
    """A training run does not fit the memory of its device."""


class OptionError(DllmError, ValueError):
    """Options contradict each other or the model."""


class QueueFullError(DllmError):
    """More requests wait than the batch permits."""


class PagesFullError(DllmError):
    """The pages for keys and values are all reserved by other sequences."""


class PromptTooLongError(DllmError):
    """The prompt and the canvas do not fit the context of the cache."""


class DrafterError(DllmError):
    """A drafter is damaged, or belongs to another model."""
