"""Files of packed weights in the user's cache directory: their names, their bound, their safety.

A file is named by a digest of everything that its weights depend on. It begins with a header whose
own digest and whose length are checked at every use; `problems` reads the weights, too. Only files
in a directory that no other user may write to are used. This module knows nothing of models.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from dllm_core.model.packed_writer import DIGEST, MAGIC, START, PackedWriter, begin_of_weights

_log = logging.getLogger(__name__)

VARIABLE = "ONEBREATH_PACKED_WEIGHTS"
"""Names the directory, or is `off`."""
LIMIT = 8 << 30
"""Bytes of all files, unless told otherwise."""
_MOST_HEADER = 64 << 20
_SUFFIX = ".packed"
_STALE = 3600.0
"""Seconds after which an unfinished file is that of a program that was ended."""
_MEMOS = 256
"""Digests of source files that are remembered."""
_LOCK_TIMEOUT = 60.0
"""Longest wait for another process that packs the same weights, in seconds."""


@dataclass(frozen=True, slots=True)
class PackedFile:
    """An opened file.

    Attributes:
        path: the file.
        header: what was written with the weights.
        start: first byte of the weights.
        size: bytes of the file.
    """

    path: Path
    header: dict[str, Any]
    start: int
    size: int


class PackedStore:
    """The files of one directory.

    Args:
        directory: made when the first file is written.
        limit: bytes of all files; those that were not used for longest are deleted beyond it.
    """

    def __init__(self, directory: Path, limit: int = LIMIT) -> None:
        self.directory, self.limit = directory, limit

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.directory / f"{key}{_SUFFIX}"

    def open(self, key: str) -> PackedFile | None:
        """The file of a key, or None where there is none that can be trusted.

        A damaged file is deleted, and the log says so.
        """
        path = self.path(key)
        try:
            if not _is_private(self.directory):
                return None
            found = read_header(path)
            if found.header.get("key") != key:
                raise ValueError("it belongs to another model")
        except OSError:  # not there, most often
            return None
        except ValueError as error:
            _log.warning("packed weights %s are not used and are made again: %s", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):  # a directory that is only read has no order of use
            os.utime(path)
        return found

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Let one process at a time pack the weights of a key; after a while, go on without."""
        lock: FileLock | None = None
        try:
            self._make()
            lock = FileLock(self.directory / f"{key}.lock", timeout=_LOCK_TIMEOUT, mode=0o600)
            lock.acquire()
        except (OSError, Timeout, NotImplementedError):  # some file systems have no locks
            lock = None
        try:
            yield
        finally:
            if lock is not None:
                lock.release()

    def begin(self, key: str, size: int, room: int) -> PackedWriter:
        """Begin the file of a key; `finish` puts it in its place.

        Args:
            key: digest of everything that the weights depend on.
            size: bytes of the weights, as far as they are known.
            room: most bytes of the header.

        Raises:
            OSError: there is no room, or no right to write.
        """
        self._make()
        if not _is_private(self.directory):
            raise OSError(f"others may write to {self.directory}")
        self._make_room(size)
        free = shutil.disk_usage(self.directory).free
        if free < size + size // 16:
            raise OSError(f"{self.directory} has {free >> 20} MiB free of {size >> 20} needed")
        return PackedWriter(self.path(key), room)

    def finish(self, writer: PackedWriter, key: str, header: dict[str, Any]) -> None:
        """Put a file in its place.

        Args:
            writer: has all weights.
            key: that of the file.
            header: what is needed to read the weights; JSON.

        Raises:
            OSError: there is no room.
        """
        self._make_room(writer.size)
        writer.finish({**header, "key": key})

    def _make(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _make_room(self, size: int) -> None:
        """Delete unfinished files, and those that were not used for longest.

        Raises:
            OSError: so many bytes are more than the limit.
        """
        if size > self.limit:
            raise OSError(f"{size >> 20} MiB are more than the limit of {self.limit >> 20} MiB")
        for partial in self.directory.glob("*.partial"):
            with contextlib.suppress(OSError):
                if time.time() - partial.stat().st_mtime > _STALE:
                    partial.unlink()
        used = sorted(self._files(), key=lambda each: each[1].st_mtime, reverse=True)
        kept = size
        for path, found in used:
            kept += found.st_size
            if kept > self.limit:
                with contextlib.suppress(OSError):  # in use, on systems that say so
                    path.unlink()
                    path.with_suffix(".lock").unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.directory.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                yield path, path.stat()

    def problems(self) -> Iterator[tuple[Path, str | None]]:
        """Read all files whole: each with a sentence on its damage, or None."""
        for path, _ in sorted(self._files()):
            try:
                found = read_header(path)
                whole = _sha256(path, found.start) == found.header.get("sha256")
                yield path, None if whole else "its weights are not those that were written"
            except (OSError, ValueError) as error:
                yield path, str(error)

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, remembered by its place, size and times of change.

        Raises:
            OSError: it cannot be read.
        """
        before = _state(path)
        memo = self.directory / "sources" / hashlib.sha256(before.encode()).hexdigest()
        with contextlib.suppress(OSError, ValueError):
            if _is_private(memo.parent) and len(bytes.fromhex(known := memo.read_text())) == 32:
                return known
        found = _sha256(path)
        if _state(path) == before:
            self._remember(memo, found)
        return found

    def _remember(self, memo: Path, digest: str) -> None:
        try:
            self._make()
            memo.parent.mkdir(mode=0o700, exist_ok=True)
            memos = sorted(memo.parent.iterdir(), key=lambda each: each.stat().st_mtime)
            for old in memos[:-_MEMOS]:
                old.unlink(missing_ok=True)
            handle, partial = tempfile.mkstemp(dir=memo.parent)
            with os.fdopen(handle, "w") as file:
                file.write(digest)
            os.replace(partial, memo)
        except OSError:
            return  # it is read again next time


def choose(packed: str | Path = "auto", limit: int = LIMIT) -> PackedStore | None:
    """The store of a choice: `auto`, `off` or a directory.

    `auto` is the directory in the environment variable ONEBREATH_PACKED_WEIGHTS, or one in the
    user's cache directory.
    """
    chosen = os.environ.get(VARIABLE) or "auto" if str(packed) == "auto" else str(packed)
    if chosen == "off":
        return None
    if chosen == "auto":
        return PackedStore(user_cache_path("onebreath") / "packed", limit)
    return PackedStore(Path(chosen).expanduser(), limit)


def key_of(parts: Sequence[object]) -> str:
    """Digest of everything that packed weights depend on."""
    return hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:40]


def read_header(path: Path) -> PackedFile:
    """Open a file of packed weights.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged or of another kind.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(START)
        if len(head) < START or not head.startswith(MAGIC):
            raise ValueError("it is no file of packed weights")
        numbers = head[len(MAGIC) : -DIGEST]
        length, expected = (int.from_bytes(numbers[i : i + 8], "little") for i in (0, 8))
        if size != expected:
            raise ValueError(f"it has {size} of {expected} bytes")
        text = file.read(length) if length <= _MOST_HEADER else b""
    if len(text) != length or hashlib.sha256(text).digest() != head[-DIGEST:]:
        raise ValueError("its header is damaged")
    header = json.loads(text)
    return PackedFile(path, header, begin_of_weights(length), size)


def _state(path: Path) -> str:
    found = path.stat()
    parts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return repr((str(path.resolve()), *parts))


def _sha256(path: Path, start: int = 0) -> str:
    digest, block = hashlib.sha256(), bytearray(1 << 20)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while count := file.readinto(block):
            digest.update(memoryview(block)[:count])
    return digest.hexdigest()


def _is_private(folder: Path) -> bool:
    """Whether only this user, or the system's, can write there.

    It is assumed on systems without user ids.
    """
    found = folder.stat()
    if not hasattr(os, "geteuid"):
        return True
    return found.st_uid in (os.geteuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
