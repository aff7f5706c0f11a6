"""Readings of the machine: processor, packages, GPUs, addresses, limits.

The engines are imported in a separate process, which isolates broken native libraries and keeps
this process small and quick to start.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from packaging.requirements import Requirement

_PROBE = """
import importlib, json, sys
errors, gpus = {}, []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:  # reported as a finding
        errors[name] = f"{type(error).__name__}: {error}"
if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
    cuda = sys.modules["torch"].cuda
    gpus = [cuda.get_device_name(i) for i in range(cuda.device_count())]
compiles = None
if "llvmlite" in sys.modules:
    try:
        from dllm_core.cpu import jit
        compiles = jit.allowed()
    except Exception as error:
        errors["llvmlite"] = f"{type(error).__name__}: {error}"
print(json.dumps({"errors": errors, "gpus": gpus, "compiles": compiles}))
"""
_PROBE_TIMEOUT = 120.0
"""Time limit for importing the engines, in seconds."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Result of importing the engines in a fresh process.

    Attributes:
        errors: error by module, for modules that cannot be imported.
        gpus: names of the CUDA devices that torch can use.
        compiles: whether CPU kernels may be compiled and run; None: unknown.
    """

    errors: Mapping[str, str]
    gpus: Sequence[str]
    compiles: bool | None = None


def import_engines(modules: Sequence[str]) -> Probe:
    """Import ``modules`` in a fresh process; failures are part of the result."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE, *modules],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
        )
    except subprocess.TimeoutExpired:
        return Probe({"all": f"not imported within {_PROBE_TIMEOUT:.0f} s"}, [])
    if done.returncode != 0:  # a native library crashed the process
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Probe({"all": f"the interpreter died with {done.returncode}: {last}"}, [])
    answer = json.loads(done.stdout.splitlines()[-1])
    return Probe(answer["errors"], answer["gpus"], answer["compiles"])


def _import_path() -> list[str]:
    """Where this program's own packages lie, before whatever the user's path holds."""
    own = str(Path(__file__).resolve().parents[2])
    return [own, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def packages() -> tuple[list[str], dict[str, str | None]]:
    """Requirements of onebreath without extras, and installed versions by name (None: missing)."""
    try:
        lines = importlib.metadata.requires("onebreath") or []
    except importlib.metadata.PackageNotFoundError:
        return [], {}
    required = [
        requirement
        for requirement in map(Requirement, lines)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]
    installed: dict[str, str | None] = {}
    for requirement in required:
        try:
            installed[requirement.name] = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            installed[requirement.name] = None
    return [f"{item.name}{item.specifier}" for item in required], installed


def own_version() -> str | None:
    """Version of onebreath; None if it is not installed."""
    try:
        return importlib.metadata.version("onebreath")
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_features() -> frozenset[str]:
    """CPU features by their Linux names; empty without /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def memory() -> tuple[int, int]:
    """Total and available memory, in bytes."""
    reading = psutil.virtual_memory()
    return reading.total, reading.available


def nvidia_gpus() -> list[str]:
    """Names of the GPUs that the NVIDIA driver reports."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def bind_error(host: str, port: int) -> int:
    """errno of a trial bind to an address, 0 for success."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return 0


def load_average() -> float:
    """Mean number of runnable processes over the last minute."""
    return float(psutil.getloadavg()[0])


def descriptor_limit() -> int | None:
    """Soft limit of open files; None: the system has no limit."""
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def nearest_directory(path: Path) -> Path:
    """Nearest existing directory at or above ``path``."""
    while not path.exists():
        path = path.parent
    return path
