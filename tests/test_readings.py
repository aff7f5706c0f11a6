from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

import pytest

from agent.doctor import readings


def test_a_module_that_cannot_be_imported_is_reported_and_the_others_are_not(tmp_path, monkeypatch):
    (tmp_path / "ob_broken.py").write_text("raise OSError('libgomp.so.1: cannot open')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    probe = readings.import_engines(["json", "ob_broken"])
    assert probe.errors == {"ob_broken": "OSError: libgomp.so.1: cannot open"}
    assert "ob_broken" not in sys.modules


def llvm_whose_check(path, monkeypatch, does):
    """A folder to import from, where jit.allowed() does this."""
    package = path / "dllm_core" / "cpu"
    package.mkdir(parents=True)
    (package / "jit.py").write_text(f"def allowed(): {does}\n")
    for file in (package.parent / "__init__.py", package / "__init__.py", path / "llvmlite.py"):
        file.touch()
    monkeypatch.setattr(readings, "_import_path", lambda: [str(path)])


@pytest.mark.parametrize("allowed", [True, False])
def test_whether_kernels_may_be_compiled_is_asked_where_llvm_is_there(
    tmp_path, monkeypatch, allowed
):
    llvm_whose_check(tmp_path, monkeypatch, f"return {allowed}")
    assert readings.import_engines(["json", "llvmlite"]).compiles is allowed
    assert readings.import_engines(["json"]).compiles is None


def test_a_library_that_fails_when_it_is_asked_is_reported(tmp_path, monkeypatch):
    llvm_whose_check(tmp_path, monkeypatch, "raise OSError('libllvmlite.so')")
    probe = readings.import_engines(["json", "llvmlite"])
    assert probe.errors == {"llvmlite": "OSError: libllvmlite.so"}
    assert probe.compiles is None


def test_a_module_that_kills_the_interpreter_is_survived(tmp_path, monkeypatch):
    (tmp_path / "ob_crash.py").write_text(
        "import os, sys; print('bad', file=sys.stderr); os.abort()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (message,) = readings.import_engines(["ob_crash"]).errors.values()
    assert "the interpreter died with -6" in message


def test_an_address_is_free_then_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert readings.bind_error("127.0.0.1", port) == errno.EADDRINUSE
    assert readings.bind_error("127.0.0.1", port) == 0


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_of_another_machine(host):
    assert readings.bind_error(host, 8080) == errno.EADDRNOTAVAIL


def test_nearest_directory_climbs_to_what_exists(tmp_path):
    assert readings.nearest_directory(tmp_path / "a" / "b") == tmp_path
    assert readings.nearest_directory(tmp_path) == tmp_path


def test_nvidia_gpus_come_from_the_driver_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert readings.nvidia_gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA L4'\necho 'NVIDIA L40S'\n")
    tool.chmod(0o755)
    assert readings.nvidia_gpus() == ["NVIDIA L4", "NVIDIA L40S"]
    tool.write_text("#!/bin/sh\necho 'no driver'\nexit 9\n")
    assert readings.nvidia_gpus() == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_cpu_features_are_those_of_the_kernel():
    features = readings.cpu_features()
    assert features <= set(Path("/proc/cpuinfo").read_text().split())
    assert features & {"sse2", "asimd"}


def test_memory_and_limits_are_plausible():
    total, available = readings.memory()
    assert 0 < available <= total
    assert readings.load_average() >= 0
    assert (readings.descriptor_limit() or 1) > 0
