"""What a drafter knows of a prompt: keys and values made of the base's hidden states."""

from __future__ import annotations

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.model.cache import KeyValues


class DraftCache:
    """The context of drafts, beside a prompt cache and never longer than it.

    Attributes:
        store: keys and values of the drafter's own layers; rows beyond `length` are scratch.
        length: positions whose hidden states have been taken in. Others may wait behind them
            until a draft is asked for.
    """

    def __init__(self, config: ModelConfig, limit: int, device: torch.device) -> None:
        self.config = config
        self.store = KeyValues(config, limit, torch.float32, device)
        self.length = 0
        self._width = config.hidden_size
        self._waiting: list[Tensor] = []
        self._fused = torch.zeros(self.store.capacity, self._width, device=device)

    def __len__(self) -> int:
        return self.length + sum(len(rows) for rows in self._waiting)

    def defer(self, features: Tensor) -> None:
        """Keep hidden states (rows, features) of the positions that follow for later."""
        self._waiting.append(features)

    def take_waiting(self) -> Tensor | None:
        """All hidden states that wait, which then do not any more; None where there are none."""
        waiting, self._waiting = self._waiting, []
        return torch.cat(waiting) if waiting else None

    def reserve(self, rows: int) -> None:
        """Make room for `rows` positions after those that are there.

        Raises:
            PromptTooLongError: they exceed the limit.
        """
        self.store.reserve(self.length + rows, keep=self.length)
        if len(self._fused) < self.store.capacity:
            wider = self._fused.new_zeros(self.store.capacity, self._width)
            wider[: self.length] = self._fused[: self.length]
            self._fused = wider

    def append(self, fused: Tensor) -> None:
        """Count rows as known, whose keys and values have been written: (rows, hidden_size)."""
        stop = self.length + len(fused)
        self._fused[self.length : stop] = fused
        self.length = stop

    @property
    def last(self) -> Tensor:
        """The fused state of the last position (hidden_size,), zeros where there is none."""
        if self.length == 0:
            return self._fused.new_zeros(self._width)
        return self._fused[self.length - 1]

    def copy(self) -> DraftCache:
        """The same positions in memory of its own."""
        assert not self._waiting, "take in first what waits"
        other = DraftCache(self.config, self.store.limit, self.store.device)
        other.reserve(self.length)
        other.store.copy_from(self.store, self.length)
        other.append(self._fused[: self.length])
        return other

    def crop(self, length: int) -> None:
        """Forget what follows the first `length` positions."""
        waiting = self.take_waiting()
        if waiting is not None and length > self.length:
            self.defer(waiting[: length - self.length])
        self.length = min(self.length, length)

    @property
    def nbytes(self) -> int:
        return self.store.nbytes + self._fused.nbytes
