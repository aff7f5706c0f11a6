"""A server in a process of its own, with its port, CPU time and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from agent.bench.figures import Progress
from agent.errors import CallError
from agent.server.ports import listen

START_SECONDS = 120.0
"""Longest start of a server, in seconds."""
PROGRESS_SECONDS = 0.5
"""CPU time that counts as progress of a server that starts."""
MAIN = Path(__file__).resolve().parents[2] / "onebreath.py"
"""The command line as a file, which no folder of the same name can hide."""
SCRIPTED = ("--asr", "scripted", "--responder", "scripted", "--tts", "tone")
"""Flags of a server without models, to measure everything else."""


@contextmanager
def running_server(
    progress: Progress,
    *,
    config: Path | None = None,
    flags: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, psutil.Process]]:
    """Run a server on a free port in a process of its own; yield its port and process.

    Args:
        progress: called with a description of the step.
        config: settings file.
        flags: command-line flags, which override settings and variables.
        variables: environment variables, which override settings.

    Raises:
        CallError: the server does not start.
    """
    progress("starting a server")
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    sock.close()
    command = [sys.executable, str(MAIN), "serve", "--host", "127.0.0.1", "--port", str(port)]
    if config is not None:
        command += ["--config", str(config)]
    environment = {**os.environ, **(variables or {})}
    with subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL, env=environment) as server:
        try:
            _await_ready(f"http://127.0.0.1:{port}/readyz", server)
            yield port, psutil.Process(server.pid)
        finally:
            server.terminate()


def _await_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    process = psutil.Process(server.pid)
    worked, deadline = 0.0, time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise CallError(
                "the server ended before it was ready; run `onebreath serve` to see why"
            )
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        # A slow machine is waited for as long as the server gets on with its work.
        with contextlib.suppress(psutil.Error):
            if (now := cpu_seconds(process)) > worked + PROGRESS_SECONDS:
                worked, deadline = now, time.monotonic() + START_SECONDS
    raise CallError(f"the server did nothing for {START_SECONDS:.0f} s and was not ready")


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of the process and its children since their start, in seconds."""
    times = [p.cpu_times() for p in _family(process)]
    return float(sum(t.user + t.system for t in times))


def proportional(process: psutil.Process) -> float | None:
    """Memory of the process and its children in gigabytes, each shared page counted once (PSS).

    None where the system does not tell.
    """
    found = [getattr(p.memory_full_info(), "pss", None) for p in _family(process)]
    known = [size for size in found if size is not None]
    return float(sum(known)) / 1e9 if len(known) == len(found) else None


def resident(process: psutil.Process) -> float:
    """Resident memory of the process and its children, in gigabytes; shared pages count in each."""
    return float(sum(p.memory_info().rss for p in _family(process))) / 1e9
