"""Machine code is kept for the next run, and used only if it is whole and the user's own."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch

from dllm_core.cpu import jit, kernel_files
from dllm_core.cpu.emit import FIRST_ARGUMENT, FLOATS, Emitter
from dllm_core.cpu.jit import compiled

X, Y = FIRST_ARGUMENT, FIRST_ARGUMENT + 1


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kernel_files, "directory", lambda: tmp_path / "kernels")
    return tmp_path / "kernels"


def copying(e: Emitter) -> None:
    e.store(e.load(e.pointer(X), FLOATS), e.pointer(Y))


def never(e: Emitter) -> None:
    raise AssertionError("it was compiled again")


def runs(kernel: jit.Kernel) -> bool:
    x, y = torch.randn(16), torch.zeros(16)
    given = (ctypes.c_int64 * (FIRST_ARGUMENT + 2))(
        *(0,) * FIRST_ARGUMENT, x.data_ptr(), y.data_ptr()
    )
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel.address)(ctypes.addressof(given))
    return torch.equal(x, y)


def test_a_kernel_is_compiled_once(folder):
    assert runs(compiled("copy", copying, keep=True))
    assert runs(compiled("copy", never, keep=True))
    assert next(folder.iterdir()).stat().st_mode & 0o077 == 0


def test_other_kernels_and_portable_code_have_files_of_their_own():
    compiled("copy", copying, keep=True)
    for change in ({"portable": True}, {}):
        with pytest.raises(AssertionError, match="again"):
            compiled("copy" if change else "other", never, keep=True, **change)


def test_a_kernel_that_is_not_kept_leaves_no_file(folder):
    assert runs(compiled("copy", copying))
    assert not folder.exists()


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:20], lambda c: b"", bytes.upper])
def test_damaged_code_is_compiled_again(folder, damage):
    compiled("copy", copying, keep=True)
    [file] = folder.glob("*/copy")
    file.write_bytes(damage(file.read_bytes()))
    assert runs(compiled("copy", copying, keep=True))
    assert runs(compiled("copy", never, keep=True))


def test_a_directory_that_others_may_write_to_is_not_trusted(folder):
    compiled("copy", copying, keep=True)
    next(folder.iterdir()).chmod(0o777)
    with pytest.raises(AssertionError, match="again"):
        compiled("copy", never, keep=True)


def test_a_full_or_read_only_disk_is_no_error(folder):
    folder.parent.joinpath("kernels").write_text("a file where the directory should be")
    assert runs(compiled("copy", copying, keep=True))


def test_other_sources_or_processors_have_other_code(monkeypatch):
    before = kernel_files.version()
    kernel_files.version.cache_clear()
    monkeypatch.setattr(kernel_files.llvm, "get_host_cpu_name", lambda: "another")
    assert kernel_files.version() != before
    kernel_files.version.cache_clear()


def test_only_the_newest_versions_stay(folder, monkeypatch):
    for n in range(6):
        monkeypatch.setattr(kernel_files, "version", lambda n=n: f"version-{n}")
        kernel_files.write("kernel", b"code")
    assert len(list(folder.iterdir())) == 3
    assert kernel_files.read("kernel") == b"code"
