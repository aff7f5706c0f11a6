"""A real Asterisk for tests: fetched once into the user's cache, run on loopback only."""

from __future__ import annotations

import os
import socket
import string
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import platformdirs

CONFIGURATION = Path(__file__).parent.parent / "asterisk"
SUITE = "forky"
INSTALL_SECONDS = 240
START_SECONDS = 30.0
RTP_PORTS = 40
"""Two for each leg of a call."""
EMPTY = [
    "acl",
    "ccss",
    "cdr",
    "cel",
    "chan_websocket",
    "codecs",
    "dnsmgr",
    "features",
    "manager",
    "pjproject",
    "sorcery",
    "stasis",
    "udptl",
]
"""Files that Asterisk wants to find although there is nothing to say."""


class NoAsterisk(Exception):
    """Asterisk cannot be had on this machine; the message says why."""


class _Template(string.Template):
    delimiter = "@"  # "$" belongs to the dialplan


def installed() -> Path:
    """The folder that Asterisk was unpacked into; fetches it (80 MB, a quarter of a minute) once.

    Raises:
        NoAsterisk: it cannot be fetched, or does not run here.
    """
    folder = platformdirs.user_cache_path("onebreath") / f"asterisk-{SUITE}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(f"{folder}.lock", timeout=INSTALL_SECONDS):
            if not folder.is_dir():
                _run([str(CONFIGURATION / "install.sh"), str(folder), SUITE], INSTALL_SECONDS)
    except filelock.Timeout:
        raise NoAsterisk("another process is fetching it and does not come to an end") from None
    _run([*_command(folder), "-V"], 20)
    return folder


def _run(command: list[str], seconds: float) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=True)
    except subprocess.CalledProcessError as error:
        raise NoAsterisk(f"{command[0]}: {error.stderr.strip()[-300:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAsterisk(str(error)) from error


def _command(folder: Path) -> list[str]:
    """Asterisk under the loader and with the libraries that it was built for."""
    loaders = sorted(folder.glob("usr/lib*/ld-linux*.so.*"))
    libraries = sorted(folder.glob("usr/lib/*-linux-gnu*"))
    if not loaders or not libraries:
        raise NoAsterisk(f"{folder} is incomplete; remove it")
    program = str(folder / "usr/sbin/asterisk")
    return [str(loaders[0]), "--library-path", str(libraries[0]), program]


@dataclass(frozen=True)
class Pbx:
    """A running Asterisk; SIP calls from 127.0.0.1 may dial what extensions.conf lists."""

    sip_port: int
    log: Path


@contextmanager
def running(folder: Path, run: Path, agent: Mapping[str, object]) -> Iterator[Pbx]:
    """Run Asterisk in ``run``, an empty folder.

    Args:
        agent: where its calls go: agent_port, audiosocket_port, username, password, uuid.

    Raises:
        NoAsterisk: it does not start.
    """
    sip_port = free_port(socket.SOCK_DGRAM)
    rtp_first = _free_rtp_ports()
    places = {
        "run": run,
        "root": folder,
        "modules": next(folder.glob("usr/lib/*/asterisk/modules")),
    }
    ports = {"sip_port": sip_port, "rtp_first": rtp_first, "rtp_last": rtp_first + RTP_PORTS - 1}
    _configure(run / "etc", {**places, **ports, **agent})
    process = subprocess.Popen(
        [*_command(folder), "-f", "-C", str(run / "etc/asterisk.conf")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(run), "TZ": "UTC"},
    )
    try:
        log = run / "full"
        _wait_until_ready(process, log)
        yield Pbx(sip_port, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _configure(folder: Path, values: Mapping[str, object]) -> None:
    folder.mkdir()
    for source in CONFIGURATION.glob("*.conf"):
        text = _Template(source.read_text()).substitute(values)
        (folder / source.name).write_text(text)
    for name in EMPTY:
        (folder / f"{name}.conf").touch()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Asterisk has no other sign of being ready than a line in its log."""
    deadline = time.monotonic() + START_SECONDS
    text = ""
    while process.poll() is None and time.monotonic() < deadline:
        text = log.read_text(errors="replace") if log.is_file() else ""
        if "Asterisk Ready" in text:
            return
        time.sleep(0.05)
    raise NoAsterisk(f"it does not start: {text[-300:] or process.returncode}")


def free_port(kind: socket.SocketKind) -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_rtp_ports() -> int:
    """The first of ``RTP_PORTS`` ports in a row that nobody uses now; even, as RTP wants."""
    for first in range(20_000, 32_000, RTP_PORTS):
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", first))
        except OSError:
            continue
        return first
    raise NoAsterisk("no free ports for RTP")
