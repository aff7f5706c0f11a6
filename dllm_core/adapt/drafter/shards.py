"""Replies and hidden states on disk, in files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dllm_core.errors import DataError


@dataclass(frozen=True, slots=True)
class Recording:
    """One conversation as the base had it."""

    ids: NDArray[np.int32]
    """(tokens,)"""
    features: NDArray[np.float16]
    """(tokens or one less, features): hidden states after the drafter's layers. The last token
    of a conversation was said, but never run."""
    replies: NDArray[np.int32]
    """(replies, 2): where each begins and ends; its end-of-reply token belongs to it."""


def write_shard(path: Path, recordings: Sequence[Recording]) -> None:
    """Write some conversations; the file appears when it is complete."""
    lengths = [(len(r.ids), len(r.features), len(r.replies)) for r in recordings]
    whole = {
        "lengths": np.array(lengths, np.int32),
        "ids": np.concatenate([r.ids for r in recordings]),
        "features": np.concatenate([r.features for r in recordings]),
        "replies": np.concatenate([r.replies for r in recordings]),
    }
    partial = path.with_suffix(".partial")
    save_file(whole, partial)
    os.replace(partial, path)


def shard_path(directory: Path, number: int) -> Path:
    return directory / f"shard-{number:05}.safetensors"


def shard_paths(directory: Path) -> list[Path]:
    """All complete shards, in the order in which they were made."""
    return sorted(directory.glob("shard-*.safetensors"))


class Corpus:
    """All recordings of a directory; features are read when they are asked for.

    Raises:
        DataError: a shard is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ids: list[NDArray[np.int32]] = []
        self.replies: list[NDArray[np.int32]] = []
        self._places: list[tuple[int, int, int]] = []
        self._features: list[NDArray[np.float16]] = []
        for path in shard_paths(directory):
            self._add(path)

    def _add(self, path: Path) -> None:
        try:
            with safe_open(path, framework="numpy") as file:
                lengths, ids, replies = (file.get_tensor(n) for n in ("lengths", "ids", "replies"))
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} is damaged ({error}): delete it and go on.") from error
        self._features.append(_mapped(path, "features"))
        number, token, row, reply = len(self._features) - 1, 0, 0, 0
        for tokens, rows, count in lengths.tolist():
            self.ids.append(ids[token : token + tokens])
            self.replies.append(replies[reply : reply + count])
            self._places.append((number, row, row + rows))
            token, row, reply = token + tokens, row + rows, reply + count

    def features(self, index: int) -> NDArray[np.float16]:
        """(tokens or one less, features) of one conversation."""
        shard, start, stop = self._places[index]
        return self._features[shard][start:stop]

    def __len__(self) -> int:
        return len(self.ids)


def _mapped(path: Path, name: str) -> NDArray[np.float16]:
    """A matrix of halves of a safetensors file, left on disk until its rows are used."""
    import json
    import struct

    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(size))[name]
    start, _ = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if 0 in shape:  # recorded for counts alone
        return np.zeros(shape, np.float16)
    return np.memmap(path, np.float16, "r", 8 + size + start, shape)
