"""Keys and values of the tokens that a sequence has read, kept from turn to turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from dllm_core.config import ModelConfig
from dllm_core.errors import PromptTooLongError

_FIRST_CAPACITY = 256


class KeyValues:
    """Preallocated keys and values of one sequence; positions are rows.

    A forward pass writes its rows at their positions. Rows beyond those that the owner counts
    as valid are scratch: a canvas that changes from step to step is overwritten in place, never
    copied.

    Args:
        config: the model's configuration.
        limit: most positions.
        dtype: number format of keys and values.
        device: torch device that holds them.

    Attributes:
        layers: for each layer (keys, values), both (kv_heads, capacity, head_dim).
        capacity: positions that have memory now; it grows up to the limit.
    """

    def __init__(
        self, config: ModelConfig, limit: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.limit = limit
        self._shape = (config.num_layers, 2, config.num_kv_heads)
        self._head_dim = config.head_dim
        self.dtype, self.device = dtype, device
        self._allocate(min(_FIRST_CAPACITY, limit))

    def _allocate(self, capacity: int) -> None:
        self.capacity = capacity
        self._store = torch.empty(
            (*self._shape, capacity, self._head_dim), dtype=self.dtype, device=self.device
        )
        self.layers = [(layer[0], layer[1]) for layer in self._store]

    def reserve(self, rows: int, keep: int) -> None:
        """Make room for `rows` positions, keeping the first `keep`.

        Raises:
            PromptTooLongError: `rows` exceeds the limit.
        """
        if rows > self.limit:
            raise PromptTooLongError(
                f"{rows} tokens do not fit the context of {self.limit}: shorten the history or "
                "load the engine with a larger context."
            )
        if rows <= self.capacity:
            return
        old = self._store
        self._allocate(min(self.limit, max(rows, 2 * self.capacity)))
        self._store[..., :keep, :] = old[..., :keep, :]

    def copy_from(self, other: KeyValues, rows: int) -> None:
        """Copy the first `rows` positions of another sequence."""
        self._store[..., :rows, :] = other._store[..., :rows, :]

    def move(self, start: int, rows: Sequence[int]) -> None:
        """Put rows one after another from `start` on; `rows` are counted from there and rise."""
        if list(rows) != list(range(len(rows))):
            index = torch.tensor(rows, device=self.device) + start
            self._store[..., start : start + len(rows), :] = self._store[..., index, :]

    @property
    def nbytes(self) -> int:
        """Bytes of memory, unused capacity included."""
        return self._store.element_size() * self._store.nelement()


def shared_prefix(cached: Sequence[int], wanted: Sequence[int]) -> int:
    """Number of leading tokens that two sequences have in common."""
    pairs = zip(cached, wanted, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(cached), len(wanted)))


class Companion(Protocol):
    """What is cut with a prompt cache and counted in its memory."""

    def __len__(self) -> int:
        """Number of positions."""

    def crop(self, length: int) -> None:
        """Forget all positions after the first `length`."""

    def copy(self) -> Companion:
        """The same in memory of its own."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""


class PromptCache:
    """The token ids that one sequence has read, and their keys and values.

    Between turns only the tokens after the longest shared prefix are computed anew. Valid
    rows are those of `ids`; the rows beyond are scratch for the canvas, so that a reply can
    be abandoned at any moment. One reply at a time may be denoised on a cache.
    """

    def __init__(self, store: KeyValues) -> None:
        self.store = store
        self.ids: list[int] = []
        self.drafts: Companion | None = None
        """What a drafter has made of the same positions, or of fewer."""

    def __len__(self) -> int:
        return len(self.ids)

    def shared_prefix(self, ids: Sequence[int]) -> int:
        """Number of leading tokens of `ids` that are cached already."""
        return shared_prefix(self.ids, ids)

    def crop(self, length: int) -> None:
        """Forget all tokens after the first `length`."""
        if not 0 <= length <= len(self.ids):
            raise IndexError(f"cannot crop {len(self.ids)} cached tokens to {length}")
        del self.ids[length:]
        if self.drafts is not None:
            self.drafts.crop(length)

    def copy_to(self, other: PromptCache) -> None:
        """Let an empty cache begin with a copy of what this one has read."""
        other.reserve(len(self.ids))
        other.store.copy_from(self.store, len(self.ids))
        other.commit(self.ids)
        other.drafts = None if self.drafts is None else self.drafts.copy()

    def reserve(self, extra: int) -> None:
        """Make room for `extra` rows after the valid ones.

        Raises:
            PromptTooLongError: they exceed the limit.
        """
        self.store.reserve(len(self.ids) + extra, keep=len(self.ids))

    def commit(self, ids: Sequence[int]) -> None:
        """Count the rows after the valid ones as those of `ids`, for which they were computed."""
        self.ids.extend(ids)

    @property
    def contiguous(self) -> PromptCache:
        """The cache itself: its keys and values lie in one piece of memory."""
        return self

    def close(self) -> None:
        """Do nothing: the memory is freed with the last reference."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the keys and values take."""
        return self.store.nbytes + (0 if self.drafts is None else self.drafts.nbytes)
