"""Reading GGUF files (the format of llama.cpp).

The `gguf` library decodes the tensors. Its reader makes several numpy objects of every string
of the vocabulary and takes over three seconds for 49,000 of them, most of an engine's start; this
reader takes a fraction of that for the same header. Layout:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from dllm_core.cpu.pack import BlockKind
from dllm_core.errors import ModelFileError, UnsupportedModelError
from dllm_core.model.json_files import POINTER, is_pointer
from dllm_core.model.lazy_tensors import Stored

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_WORDS = tuple(f"tokenizer.ggml.{name}" for name in ("tokens", "merges", "token_type", "scores"))


@cache
def _is_decoded(kind: GGMLQuantizationType) -> bool:
    """Whether the library makes floats of blocks of this format; it has no list of them."""
    try:
        dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _meant(path: Path) -> str:
    """The end of a sentence that refuses a file of another kind."""
    if is_pointer(path):
        return f": {POINTER}"
    if path.suffix in (".safetensors", ".json", ".bin", ".pth", ".pt"):
        return f": name the checkpoint's directory, {path.parent}, if it has safetensors files."
    return "."


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """The place of one tensor in a file.

    Attributes:
        shape: row-major, as in torch.
        kind: number format.
        offset: first byte in the file.
    """

    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int


class GgufFile:
    """Metadata and tensors of one GGUF file; opening it reads the header only.

    Attributes:
        path: the file.
        metadata: values by key, as in the header.
        tensors: entries by tensor name.

    Raises:
        ModelFileError: the file is missing, not a GGUF, of another version, or truncated.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise ModelFileError(f"There is no model file {path}.") from error
        except (OSError, ValueError) as error:
            raise ModelFileError(f"The model file {path} cannot be read: {error}.") from error
        if self._bytes[:4] != b"GGUF":
            raise ModelFileError(f"{path} is not a GGUF file{_meant(path)}")
        try:
            self._read_header()
        except (struct.error, ValueError, TypeError, KeyError, ArithmeticError) as error:
            raise ModelFileError(f"The header of {path} is damaged: fetch it again.") from error
        self._check_kinds()
        self._check_size()
        # Tensors are read from the file itself: pages of a mapping would count as our memory.
        self._bytes.close()

    def forget_words(self) -> None:
        """Drop the vocabulary from `metadata`: while weights are read, the tokenizer has it."""
        for key in _WORDS:
            self.metadata.pop(key, None)

    def _read_header(self) -> None:
        self._position = 4
        version = self._scalar("I")
        if version and not version & 0xFFFF:
            raise ModelFileError(
                f"{self.path} is a big-endian GGUF file, for IBM's machines: take the model's "
                "little-endian file, or convert this one with the gguf package."
            )
        if version not in _VERSIONS:
            raise ModelFileError(
                f"{self.path} has GGUF version {version}; 2 and 3, with the bytes of "
                "numbers in the order of x86 and ARM, are readable."
            )
        tensors, pairs = self._scalar("Q"), self._scalar("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._string()
            self.metadata[key] = self._value(self._scalar("I"))
        entries = [self._tensor_entry() for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", _ALIGNMENT)
        start = -(-self._position // alignment) * alignment
        self.tensors = {
            name: TensorEntry(shape, kind, start + offset) for name, shape, kind, offset in entries
        }

    def _scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self._bytes, self._position)
        self._position += struct.calcsize("<" + code)
        return value

    def _string(self) -> str:
        length = self._scalar("Q")
        start, self._position = self._position, self._position + length
        if self._position > len(self._bytes):
            raise struct.error("string beyond the end")
        return self._bytes[start : self._position].decode("utf-8")

    def _strings(self, count: int) -> list[str]:
        """As `_string` reads them: a vocabulary has 49,000 and more, so in one loop."""
        found, position, whole = [], self._position, self._bytes
        length_at = struct.Struct("<Q").unpack_from
        for _ in range(count):
            start = position + 8
            position = start + length_at(whole, position)[0]
            if position > len(whole):
                raise struct.error("string beyond the end")
            found.append(whole[start:position].decode("utf-8"))
        self._position = position
        return found

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._scalar(_SCALARS[kind])
        element, count = self._scalar("I"), self._scalar("Q")
        if element == _STRING:
            return self._strings(count)
        if element == _ARRAY:
            return [self._value(element) for _ in range(count)]
        layout = f"<{count}{_SCALARS[element]}"
        values = struct.unpack_from(layout, self._bytes, self._position)
        self._position += struct.calcsize(layout)
        return list(values)

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], GGMLQuantizationType, int]:
        name = self._string()
        sizes = [self._scalar("Q") for _ in range(self._scalar("I"))]
        kind = self._scalar("I")
        try:
            quantization = GGMLQuantizationType(kind)
        except ValueError as error:
            raise ModelFileError(f"{name} in {self.path} has unknown type {kind}.") from error
        return name, tuple(reversed(sizes)), quantization, self._scalar("Q")

    def _stored_bytes(self, entry: TensorEntry) -> int:
        block, size = GGML_QUANT_SIZES[entry.kind]
        return int(np.prod(entry.shape)) // block * size

    def _check_kinds(self) -> None:
        """Refuse formats that the `gguf` library does not decode, and rows of half a block."""
        for name, entry in self.tensors.items():
            if not _is_decoded(entry.kind):
                raise UnsupportedModelError(
                    f"{name} in {self.path} is of the format {entry.kind.name}, which is not read: "
                    "take the file in another one, such as Q4_K_M, Q8_0 or F16."
                )
            if not entry.shape or entry.shape[-1] % GGML_QUANT_SIZES[entry.kind][0]:
                raise ModelFileError(f"{name} in {self.path} has rows of half a block.")

    def _check_size(self) -> None:
        needed = max((e.offset + self._stored_bytes(e) for e in self.tensors.values()), default=0)
        if needed > len(self._bytes):
            raise ModelFileError(
                f"{self.path} is truncated: {len(self._bytes)} of at least {needed} bytes are "
                "there. Fetch it again."
            )

    def read(self) -> Iterator[tuple[str, Stored]]:
        """Yield every tensor by name; its rows are decoded to float32 when they are read."""
        for name, entry in self.tensors.items():
            matrix = len(entry.shape) == 2 and entry.kind.name in BlockKind.__members__
            kind = BlockKind[entry.kind.name] if matrix else None
            yield (
                name,
                Stored(
                    entry.shape,
                    partial(self._decoded, entry),
                    kind,
                    partial(self._raw, entry),
                    entry.kind.name,
                ),
            )

    def _decoded(self, entry: TensorEntry, rows: slice) -> torch.Tensor:
        if len(entry.shape) == 1:
            return self._decoded(replace(entry, shape=(1, *entry.shape)), slice(0, 1))[0][rows]
        values = dequantize(self._raw(entry, rows), entry.kind)
        return torch.from_numpy(values.astype(np.float32, copy=False))

    def _raw(self, entry: TensorEntry, rows: slice) -> NDArray[np.uint8]:
        """Bytes of some rows as the file has them; the last axis is a row's blocks."""
        block, size = GGML_QUANT_SIZES[entry.kind]
        start, stop, _ = rows.indices(entry.shape[0])
        width = entry.shape[-1] // block * size
        per_row = int(np.prod(entry.shape[1:-1], dtype=np.int64)) * width
        raw = np.fromfile(
            self.path, np.uint8, (stop - start) * per_row, offset=entry.offset + start * per_row
        )
        return raw.reshape(stop - start, *entry.shape[1:-1], width)
