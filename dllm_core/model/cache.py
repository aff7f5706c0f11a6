"""Keys and values of the tokens that a sequence has read, kept from turn to turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.cpu.emit import LANES
from dllm_core.cpu.key_blocks import as_blocks, into_blocks, into_rows, whole_blocks
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

    Keys lie in rows like the values, or in the blocks of the CPU kernels (cpu/key_blocks.py):
    whoever asks for one order gets it, and turns all keys if they lie in the other one. `layers`
    and `blocks` are valid until the other is asked for or the memory grows.

    Attributes:
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
            (*self._shape, whole_blocks(capacity), self._head_dim),
            dtype=self.dtype,
            device=self.device,
        )
        # Kernels multiply whole blocks of keys, and denormal numbers take several times as long.
        self._store[:, 0].zero_()
        self._blocked: bool | None = None
        """Whether keys lie in blocks; None before anything has been written."""
        kept = self._store[..., :capacity, :]
        self._layers: list[tuple[Tensor, Tensor]] = [(layer[0], layer[1]) for layer in kept]
        blocks = as_blocks(self._store[:, 0])
        self._blocks = list(zip(blocks, self._store[:, 1], strict=True))

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """For each layer (keys, values), both (kv_heads, capacity, head_dim)."""
        self._turn(blocked=False)
        return self._layers

    @property
    def blocks(self) -> list[tuple[Tensor, Tensor]]:
        """For each layer keys (kv_heads, blocks, head_dim, 16) and values (kv_heads, blocks * 16,
        head_dim)."""
        self._turn(blocked=True)
        return self._blocks

    def values(self, layer: int) -> Tensor:
        """Values of a layer (kv_heads, capacity, head_dim), which lie the same in either order."""
        return self._layers[layer][1]

    def _turn(self, *, blocked: bool) -> None:
        if self._blocked is not None and self._blocked != blocked:
            turn = into_blocks if blocked else into_rows
            # Memory that was made in inference mode can only be written in it.
            with torch.inference_mode():
                for keys in self._store[:, 0]:
                    turn(keys)
        self._blocked = blocked

    def write(self, layer: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Put keys and values (kv_heads, rows, head_dim) of a layer at positions from `start` on,
        in whichever order the keys lie."""
        stop = start + keys.shape[1]
        self.values(layer)[:, start:stop] = values
        if self._blocked:
            block, lane = _places(torch.arange(start, stop, device=self.device))
            self._blocks[layer][0][:, block, :, lane] = keys.transpose(0, 1)
        else:
            self.layers[layer][0][:, start:stop] = keys

    def zero(self) -> None:
        """Set all keys and values to zero."""
        self._store.zero_()

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
        old, blocked = self._store, self._blocked
        self._allocate(min(self.limit, max(rows, 2 * self.capacity)))
        if keep:
            self._copy(old, keep)
            self._blocked = blocked

    def copy_from(self, other: KeyValues, rows: int) -> None:
        """Copy the first `rows` positions of another sequence; those beyond become scratch."""
        self._copy(other._store, rows)
        self._blocked = other._blocked

    def _copy(self, store: Tensor, rows: int) -> None:
        whole = whole_blocks(rows)
        self._store[..., :whole, :] = store[..., :whole, :]

    def move(self, start: int, rows: Sequence[int]) -> None:
        """Put rows one after another from `start` on; `rows` are counted from there and rise."""
        if list(rows) == list(range(len(rows))):
            return
        index = torch.tensor(rows, device=self.device) + start
        stop = start + len(rows)
        moved = self._store[:, 0 if not self._blocked else 1 :]
        moved[..., start:stop, :] = moved[..., index, :]
        if self._blocked:
            keys = as_blocks(self._store[:, 0])
            block, lane = _places(torch.arange(start, stop, device=self.device))
            from_block, from_lane = _places(index)
            keys[:, :, block, :, lane] = keys[:, :, from_block, :, from_lane]

    @property
    def nbytes(self) -> int:
        """Bytes of memory, unused capacity included."""
        return self._store.element_size() * self._store.nelement()


def _places(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks of positions, and places in them."""
    return positions // LANES, positions % LANES


def shared_prefix(cached: Sequence[int], wanted: Sequence[int]) -> int:
    """Number of leading tokens that two sequences have in common."""
    pairs = zip(cached, wanted, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(cached), len(wanted)))


def reusable(
    config: ModelConfig,
    cached: Sequence[int],
    whole: int,
    wanted: Sequence[int],
    padding: int = 0,
) -> int:
    """Number of leading tokens of a prompt that need not be read again.

    In a block-causal model they are those of whole blocks that are the same. In a bidirectional
    model the keys of every token depend on all of the prompt, so it is all or nothing: the same
    prompt, read in one pass.
    """
    same = shared_prefix(cached, wanted)
    if config.attention == "bidirectional":
        return same if same == whole == len(wanted) else 0
    return config.block_start(same, padding)


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

    Attributes:
        store: the keys and values.
        ids: the tokens that are read.
        whole: number of leading tokens that one pass has read, for bidirectional models, in which
            a prompt that was read in parts is another one.
        padding: positions by which the first block is shorter; see `ModelConfig.pads_prompts`.
    """

    def __init__(self, store: KeyValues) -> None:
        self.store = store
        self.ids: list[int] = []
        self.whole = 0
        self.padding = 0
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
        self.whole = self.whole if length >= self.whole else 0
        if self.drafts is not None:
            self.drafts.crop(length)

    def copy_to(self, other: PromptCache) -> None:
        """Let an empty cache begin with a copy of what this one has read."""
        other.reserve(len(self.ids))
        other.store.copy_from(self.store, len(self.ids))
        other.commit(self.ids)
        other.whole, other.padding = self.whole, self.padding
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
