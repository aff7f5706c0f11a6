"""Machine code of the kernels, kept between runs: to write and compile it takes seconds.

A file is used only if it is whole, and only by the sources, processor and compiler that made it.
The directory is the user's own, as machine code has to be: one that others may write to is left
alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
from platformdirs import user_cache_path

_KEPT = 3
"""Versions whose code is kept, the newest ones."""
_DIGEST = 32
"""Bytes of a SHA-256 digest, with which a file begins."""


def directory() -> Path:
    """Parent of the directories with code, one for each version of sources and compiler."""
    return user_cache_path("onebreath") / "kernels"


@cache
def version() -> str:
    """Digest of the kernels' sources, the processor and the compiler."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    features = llvm.get_host_cpu_features().flatten()
    machine = (llvm.get_process_triple(), llvm.get_host_cpu_name(), features)
    digest.update(repr((llvmlite.__version__, llvm.llvm_version_info, *machine)).encode())
    return digest.hexdigest()[:20]


def read(name: str) -> bytes | None:
    """Code of a kernel; None where there is none that can be trusted."""
    path = directory() / version() / name
    try:
        if not _is_private(path.parent):
            return None
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:_DIGEST], content[_DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def write(name: str, code: bytes) -> None:
    """Keep the code of a kernel; where that is impossible it is compiled again next time."""
    target = directory() / version() / name
    try:
        if not target.parent.is_dir():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _drop_old_versions()
        if not _is_private(target.parent):
            return
        handle, partial = tempfile.mkstemp(dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(partial, target)
    except OSError:
        return


def _is_private(folder: Path) -> bool:
    """Whether only this user can write there; on systems without user ids it is assumed."""
    if not hasattr(os, "geteuid"):
        return True
    found = folder.stat()
    others = stat.S_IWGRP | stat.S_IWOTH
    return found.st_uid == os.geteuid() and not found.st_mode & others


def _drop_old_versions() -> None:
    versions = sorted(directory().iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    for old in versions[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
