"""An embedding in the number format of its file: rows are decoded where they are looked up.

A pass looks up a row for each token, out of tens of thousands. In float32 all of them would be a
third to two thirds of the memory of a small model whose layers have 4 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize
from torch import Tensor

from dllm_core.model.lazy_tensors import Rows, Stored, pieces

FLOATS = {"F16": torch.float16, "BF16": torch.bfloat16}
"""Number formats of a file that torch has, by their names in GGUF."""


class StoredEmbedding:
    """Rows (vocabulary, hidden_size) that read as float32 on the CPU, whatever their format.

    Attributes:
        shape: of the embedding, in numbers.
        encoding: name of the number format as in GGUF.
        raw: uint8 (vocabulary, bytes of a row).
    """

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, shape: Sequence[int], encoding: str, raw: Tensor) -> None:
        self.shape, self.encoding, self.raw = torch.Size(shape), encoding, raw
        self._changed: dict[int, Tensor] = {}

    @classmethod
    def of(cls, tensor: Rows) -> StoredEmbedding | None:
        """All rows of a checkpoint's tensor as its file has them; None for those in float32."""
        if not isinstance(tensor, Stored) or tensor.raw is None:
            return None
        if tensor.encoding is None or tensor.encoding == "F32":
            return None
        size = (tensor.shape[0], row_bytes(tensor.encoding, tensor.shape[1]))
        raw = torch.empty(size, dtype=torch.uint8)
        for rows in pieces(tensor.shape):
            raw[rows] = torch.from_numpy(tensor.raw(rows))
        return cls(tensor.shape, tensor.encoding, raw)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, ids: int | slice | Sequence[int] | Tensor) -> Tensor:
        """Rows (..., hidden_size) of ids (...), or of a slice, float32; never a view."""
        if isinstance(ids, slice):
            ids = torch.arange(len(self))[ids]
        places = torch.as_tensor(ids)
        if not places.numel():
            return torch.empty(*places.shape, self.shape[1])
        flat = places.reshape(-1)
        found = _DECODERS.get(self.encoding, self._blocks)(self.raw[flat])
        for token, row in self._changed.items():
            found[flat == token] = row
        return found.view(*places.shape, self.shape[1])

    def __setitem__(self, token: int, row: Tensor | float) -> None:
        """Replace a row, for this model alone."""
        kept = torch.empty(self.shape[1])
        kept[:] = row
        self._changed[token] = kept

    def _blocks(self, raw: Tensor) -> Tensor:
        kind = GGMLQuantizationType[self.encoding]
        return torch.from_numpy(dequantize(raw.numpy(), kind).astype(np.float32, copy=False))

    def detach(self) -> StoredEmbedding:
        """Itself: there are no gradients."""
        return self

    def float(self) -> StoredEmbedding:
        """Itself: its rows read as float32."""
        return self

    def mean(self, axis: int) -> Tensor:
        """Mean of all rows (hidden_size,)."""
        assert axis == 0
        total = torch.zeros(self.shape[1])
        for some in pieces(self.shape):
            total += self[some].sum(0)
        return total / len(self)


def row_bytes(encoding: str, width: int) -> int:
    """Bytes of a row of `width` numbers."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[encoding]]
    return width // block * size


def _eight_bits(raw: Tensor) -> Tensor:
    """GGUF's Q8_0, without the detour over numpy."""
    blocks = raw.view(len(raw), -1, 34)
    step = blocks[..., :2].contiguous().view(torch.float16).float()
    levels = blocks[..., 2:].contiguous().view(torch.int8).float()
    return levels.mul_(step).flatten(1)


def _floats(kind: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda raw: raw.view(kind).float()


_DECODERS: dict[str, Callable[[Tensor], Tensor]] = {
    "Q8_0": _eight_bits,
    **{name: _floats(kind) for name, kind in FLOATS.items()},
}
