"""The weights of a packed model in a file that is mapped, not read: the second load takes no time.

Pages of a mapping are shared between processes and are read when they are first used. It is private
memory for whoever writes to it, as an adapter does to the row of the mask token.
"""

from __future__ import annotations

import logging
import mmap
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from dllm_core.cpu import kernel_files
from dllm_core.cpu.formats import FORMATS
from dllm_core.cpu.packed import PackedRows
from dllm_core.model import packed_store
from dllm_core.model.packed_store import PAGE, PackedFile, PackedStore
from dllm_core.model.quantize import PackedLinear, Part
from dllm_core.model.stored_embedding import StoredEmbedding
from dllm_core.model.transformer import LinearKind, Rotary, Transformer

_log = logging.getLogger(__name__)

VERSION = 2
"""Of the layout of a file."""
LEAST = 32 << 20
"""Bytes of weights that are worth a file."""
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_DTYPES = {str(kind): kind for kind in (torch.uint8, torch.float32)}


@dataclass(frozen=True, slots=True)
class PackedCache:
    """Where the packed weights of one model are kept.

    Attributes:
        store: the directory.
        key: digest of everything that they depend on.
    """

    store: PackedStore
    key: str

    @classmethod
    def of(
        cls,
        store: PackedStore | None,
        kind: LinearKind,
        source: Path,
        adapter: Path | None,
        change: object,
    ) -> PackedCache | None:
        """The place of a model's packed weights; None where it has none.

        Args:
            store: the directory, if there is one.
            kind: class of the linear layers.
            source: GGUF file, or directory of safetensors files.
            adapter: directory of an adapter that is merged into the weights.
            change: configuration of the model, and whatever else changes its weights.
        """
        if store is None or not issubclass(kind, PackedLinear):
            return None
        try:
            files = [_files(source), [] if adapter is None else _files(adapter)]
            if not files[0]:
                return None
            digests = [[store.digest(path) for path in some] for some in files]
        except OSError:
            return None  # whoever reads it says so better
        machine = (kernel_files.version(), sys.byteorder)
        return cls(store, packed_store.key_of((VERSION, machine, kind.__name__, digests, change)))

    def load(self, model: Transformer) -> bool:
        """Map the weights into an empty model; False where there is no file that fits."""
        found = self.store.open(self.key)
        if found is None:
            return False
        try:
            _adopt(model, found)
        except OSError as error:  # deleted meanwhile, or no address space
            _log.warning("packed weights %s cannot be mapped: %s", found.path, error)
            return False
        return True

    def keep(self, model: Transformer) -> None:
        """Write the weights of a model and use the file in place of its memory."""
        tensors = dict(_tensors(model))
        if sum(tensor.nbytes for tensor in tensors.values()) < LEAST:
            return
        places, size = _places(tensors)
        layers = {
            name: [(part.start, part.packed.form.name, part.packed.out_features) for part in parts]
            for name, parts in ((n, layer.parts) for n, layer in _layers(model))
        }
        blocks = list(_blocks(tensors, places, size))
        header = {"sha256": packed_store.sha256_of(blocks), "tensors": places, "layers": layers}
        if isinstance(model.embedding, StoredEmbedding):
            header["embedding"] = model.embedding.encoding

        def fill(file: BinaryIO) -> None:
            for block in blocks:
                file.write(block)

        if self.store.write(self.key, header, size, fill):
            self.load(model)


def _files(source: Path) -> list[Path]:
    """Files that the weights come from, in a fixed order."""
    if not source.is_dir():
        return [source]
    return sorted(path for pattern in _WEIGHTS for path in source.glob(pattern))


def _layers(model: Transformer) -> Iterator[tuple[str, PackedLinear]]:
    for name, module in model.named_modules():
        if isinstance(module, PackedLinear):
            yield name, module


def _others(model: Transformer) -> Iterator[tuple[str, nn.Module]]:
    """Modules with tensors that a checkpoint fills and that are not packed."""
    for name, module in model.named_modules():
        if not isinstance(module, PackedLinear | Rotary):
            yield name, module


def _tensors(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """All weights by name: those of every pass first, the embedding, of which few rows are used,
    last."""
    for name, layer in _layers(model):
        for i, part in enumerate(layer.parts):
            yield f"{name}:{i}", part.packed.data
        if layer.padded_bias is not None:
            yield f"{name}:bias", layer.padded_bias
    rest = {
        f"{name}.{own}" if name else own: parameter.detach()
        for name, module in _others(model)
        for own, parameter in module.named_parameters(recurse=False)
    }
    embedding = rest.pop("embedding", None)
    yield from rest.items()
    stored = model.embedding
    if isinstance(stored, StoredEmbedding):
        yield "embedding", stored.raw
    elif embedding is not None:
        yield "embedding", embedding


_Place = tuple[int, str, tuple[int, ...]]
"""Offset of a tensor in the weights, its dtype and its shape."""


def _places(tensors: Mapping[str, Tensor]) -> tuple[dict[str, _Place], int]:
    """Places of tensors, each at the beginning of a page; and bytes in all."""
    places: dict[str, _Place] = {}
    at = 0
    for name, tensor in tensors.items():
        places[name] = (at, str(tensor.dtype), tuple(tensor.shape))
        at += -(-tensor.nbytes // PAGE) * PAGE
    return places, at


def _blocks(
    tensors: Mapping[str, Tensor], places: Mapping[str, _Place], size: int
) -> Iterator[memoryview]:
    """The weights as they are written, padding included."""
    ends = [*(at for at, _, _ in places.values()), size][1:]
    for (name, tensor), end in zip(tensors.items(), ends, strict=True):
        raw = tensor.contiguous().numpy().data.cast("B")
        yield raw
        yield memoryview(bytes(end - places[name][0] - len(raw)))


def _adopt(model: Transformer, file: PackedFile) -> None:
    with file.path.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    whole = torch.from_numpy(np.frombuffer(mapped, np.uint8))
    places: dict[str, Any] = file.header["tensors"]
    _read_ahead(mapped, file.start + places["embedding"][0])

    def tensor(name: str) -> Tensor:
        at, dtype, shape = places[name]
        kind = _DTYPES[dtype]
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        return whole[file.start + at :][:size].view(kind).view(shape)

    for name, layer in _layers(model):
        parts = []
        for i, (start, form, rows) in enumerate(file.header["layers"][name]):
            given = tensor(f"{name}:{i}")
            size = (layer.in_features, rows)
            packed = PackedRows(*size, FORMATS[form], paired=layer.paired, data=given)
            parts.append(Part(start, packed, [(0, rows)]))
        layer.adopt(parts)
        if layer.padded_bias is not None:
            layer.padded_bias.copy_(tensor(f"{name}:bias"))
    if "embedding" in file.header:
        shape = (model.config.vocab_size, model.config.hidden_size)
        raw = tensor("embedding")
        model.use_embedding(StoredEmbedding(shape, file.header["embedding"], raw))
    for name, module in _others(model):
        for own, parameter in module.named_parameters(recurse=False):
            parameter.data = tensor(f"{name}.{own}" if name else own)


def _read_ahead(mapped: mmap.mmap, size: int) -> None:
    """Ask the system to read the weights of every pass now rather than page by page."""
    if hasattr(mmap, "MADV_WILLNEED"):
        mapped.madvise(mmap.MADV_WILLNEED, 0, size)
