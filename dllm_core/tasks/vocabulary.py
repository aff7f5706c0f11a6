"""Tokens of a vocabulary by the text that they may write inside a JSON value."""

from __future__ import annotations

import re
from functools import cached_property

import torch
from torch import Tensor

from dllm_core.engine import Engine
from dllm_core.errors import OptionError

_SAFE = r'[^"\\\x00-\x1f\x7f\ufffd]'
_TEXT = re.compile(rf"{_SAFE}+")
_CLOSING = re.compile(rf'{_SAFE}*".*', re.DOTALL)
_DIGITS = re.compile(r"[0-9]+")
_STOP = re.compile(r"[\s,}\]].*", re.DOTALL)


class Vocabulary:
    """The classes of tokens, each bool (vocab,), found once for an engine.

    Attributes:
        texts: text of every token by itself; empty for special ones.

    Raises:
        OptionError: no token is a digit or plain text.
    """

    def __init__(self, engine: Engine) -> None:
        words, size = engine.tokenizer, engine.config.vocab_size
        known = range(min(size, words.vocab_size))
        found = [words.piece(i) for i in known]
        self.texts = found + [""] * (size - len(found))
        self._device = engine.device
        if not self.digits.any() or not self.text.any():
            raise OptionError("No token of this model is made of digits or of plain text only.")

    def _matching(self, pattern: re.Pattern[str]) -> Tensor:
        fits = [bool(pattern.fullmatch(text)) for text in self.texts]
        return torch.tensor(fits, device=self._device)

    @cached_property
    def text(self) -> Tensor:
        """Text without quotes, backslashes and control characters."""
        return self._matching(_TEXT)

    @cached_property
    def closing(self) -> Tensor:
        """Text that a quote ends."""
        return self._matching(_CLOSING)

    @cached_property
    def digits(self) -> Tensor:
        return self._matching(_DIGITS)

    @cached_property
    def point(self) -> Tensor:
        return self._matching(re.compile(r"\."))

    @cached_property
    def minus(self) -> Tensor:
        return self._matching(re.compile("-"))

    @cached_property
    def stop(self) -> Tensor:
        """Text that stands behind a number."""
        return self._matching(_STOP)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        return tuple(self.stop.nonzero().flatten().tolist())
