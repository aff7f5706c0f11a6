"""The weights of a packed model in a file that is mapped, not read: the second load takes no time.

Pages of a mapping are shared between processes and are read when they are first used. It is private
memory for whoever writes to it, as an adapter does to the row of the mask token.
"""

from __future__ import annotations

import logging
import mmap
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dllm_core.cpu import kernel_files
from dllm_core.cpu.formats import FORMATS
from dllm_core.cpu.packed import PackedRows
from dllm_core.model import packed_store
from dllm_core.model.packed_store import PackedFile, PackedStore
from dllm_core.model.packed_writer import PackedWriter
from dllm_core.model.quantize import PackedLinear, Part
from dllm_core.model.stored_embedding import StoredEmbedding
from dllm_core.model.transformer import LinearKind, Rotary, Transformer

_log = logging.getLogger(__name__)

VERSION = 2
"""Of the layout of a file."""
LEAST = 32 << 20
"""Bytes of weights that are worth a file."""
Fill = Callable[[Callable[[str], None]], None]
"""Fills a model, and calls what it is given with the name of every layer that is complete."""
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

    def pack(self, model: Transformer, fill: Fill) -> None:
        """Fill an empty model; its weights go to the file while they are packed and stay there.

        Without room, or without the right to write, the weights stay in memory and the log says so.
        """
        filling = _Filling(self, model)
        try:
            fill(filling.spill)
            filling.finish()
        except BaseException:
            filling.drop()
            raise


class _Filling:
    """A model that is being filled, and its file."""

    def __init__(self, cache: PackedCache, model: Transformer) -> None:
        self._cache, self._model = cache, model
        self._writer: PackedWriter | None = None
        self._failed = False
        self._places: dict[str, _Place] = {}
        self._spilled: list[PackedLinear] = []

    def spill(self, name: str) -> None:
        """Write a layer whose weights are complete, and read it from the file from now on."""
        layer = self._model.get_submodule(name)
        if not isinstance(layer, PackedLinear) or not self._begin(_layers_bytes(self._model)):
            return
        with self._in_memory_on_failure() as writer:
            for i, part in enumerate(layer.parts):
                place = self._add(writer, f"{name}:{i}", part.packed.data)
                given = writer.mapped(place, part.packed.nbytes)
                data = torch.from_numpy(given).view(part.packed.shape)
                layer.replace(i, data)
            self._spilled.append(layer)

    def finish(self) -> None:
        """Write the rest, and use the file in place of the model's memory."""
        cache = self._cache
        if not self._begin(sum(tensor.nbytes for _, tensor in _tensors(self._model))):
            return
        with self._in_memory_on_failure() as writer:
            for name, tensor in _tensors(self._model):
                if name not in self._places:
                    self._add(writer, name, tensor)
            cache.store.finish(writer, cache.key, self._header())
            self._writer = None
            cache.load(self._model)

    def drop(self) -> None:
        """Leave no unfinished file."""
        if self._writer is not None:
            self._writer.drop()
        self._writer = None

    def _begin(self, size: int) -> bool:
        """Begin a file of at least so many bytes where they are worth one; whether there is one."""
        if self._writer is None and not self._failed and size >= LEAST:
            # Generous: a name of a layer is some 30 characters, and it has three parts at most.
            room = 4096 + 1024 * len(list(self._model.modules()))
            try:
                self._writer = self._cache.store.begin(self._cache.key, size, room)
            except OSError as error:
                self._fail(error)
        return self._writer is not None

    @contextmanager
    def _in_memory_on_failure(self) -> Iterator[PackedWriter]:
        assert self._writer is not None
        try:
            yield self._writer
        except OSError as error:
            for layer in self._spilled:  # the file goes, and its room on the disk with it
                for i, part in enumerate(layer.parts):
                    layer.replace(i, part.packed.data.clone())
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.drop()
        self._failed = True
        _log.warning("packed weights are not kept, loading takes longer next time: %s", error)

    def _add(self, writer: PackedWriter, name: str, tensor: Tensor) -> int:
        place = writer.add(tensor.contiguous().numpy().data.cast("B"))
        self._places[name] = (place, str(tensor.dtype), tuple(tensor.shape))
        return place

    def _header(self) -> dict[str, Any]:
        layers = {
            name: [(part.start, part.packed.form.name, part.packed.out_features) for part in parts]
            for name, parts in ((n, layer.parts) for n, layer in _layers(self._model))
        }
        header: dict[str, Any] = {"tensors": self._places, "layers": layers}
        if isinstance(self._model.embedding, StoredEmbedding):
            header["embedding"] = self._model.embedding.encoding
        return header


def _files(source: Path) -> list[Path]:
    """Files that the weights come from, in a fixed order."""
    if not source.is_dir():
        return [source]
    return sorted(path for pattern in _WEIGHTS for path in source.glob(pattern))


def _layers(model: Transformer) -> Iterator[tuple[str, PackedLinear]]:
    for name, module in model.named_modules():
        if isinstance(module, PackedLinear):
            yield name, module


def _layers_bytes(model: Transformer) -> int:
    return sum(part.packed.nbytes for _, layer in _layers(model) for part in layer.parts)


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
