"""Consoles, common options and settings of all commands."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.logging import RichHandler

if TYPE_CHECKING:
    from agent.config.settings import Settings
    from agent.runtime.engine_tasks import Engines
    from agent.runtime.engines import LoadedEngine

T = TypeVar("T")

out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Settings file (TOML). Default: onebreath.toml, if it exists."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document per line.")]
ResponderOption = Annotated[
    str | None,
    typer.Option(
        help="Responder engine: diffusion, diffusion-gemma, autoregressive, hosted, ray, ab, "
        "scripted or package.module:Class. Default: as in the settings.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Model of the responder: name, GGUF file or directory. Default: as in the settings.",
    ),
]


def settings_from(config: Path | None, flags: dict[str, dict[str, Any]] | None = None) -> Settings:
    """Load the settings from file, environment and flags, and start logging.

    Args:
        config: settings file; None: ``onebreath.toml`` if it exists.
        flags: settings from the command line, nested by section.

    Raises:
        ConfigError: a setting is unknown or has a bad value.
    """
    from agent.config.sources import DEFAULT_FILE, load_settings, named_file

    settings = load_settings(flags, config)
    if named_file(config) is None and DEFAULT_FILE.is_file():
        err.print(f"settings: {DEFAULT_FILE.absolute()}", style="dim", soft_wrap=True)
    start_logging(settings)
    return settings


def start_logging(settings: Settings) -> None:
    """Log as the settings say, and keep libraries from being loud."""
    logging.basicConfig(level=settings.log_level.upper(), handlers=[_handler(settings)])
    # httpx and openai write addresses with their passwords, and headers with keys.
    libraries = ("uvicorn.error", "faster_whisper", "websockets", "asyncio", "aioice", "aiortc")
    for verbose in (*libraries, "httpx", "httpcore", "openai"):
        logging.getLogger(verbose).setLevel("WARNING")


@contextmanager
def without_call_lines() -> Iterator[None]:
    """Leave out meanwhile what is logged of calls that this process itself makes."""
    calls = logging.getLogger("onebreath")
    level = calls.level
    calls.setLevel(logging.WARNING)
    try:
        yield
    finally:
        calls.setLevel(level)


def _handler(settings: Settings) -> logging.Handler:
    from agent.runtime.logs import ConsoleFormatter, JsonFormatter

    if settings.log.format == "json":
        handler: logging.Handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
    else:
        handler = RichHandler(console=err, show_path=False)
        handler.setFormatter(ConsoleFormatter("%(message)s", "%H:%M:%S"))
    return handler


def load(settings: Settings, *, whole: bool = True) -> tuple[Engines, list[LoadedEngine]]:
    """Load the engines, and the server's code beside them; show the progress in the terminal.

    Args:
        whole: whether all of the warm-up is done (`agent.runtime.warming`).
    """
    # What is loaded stays: to look for garbage in it takes a tenth of the time.
    gc.disable()
    try:
        from agent.runtime.engines import load_engines

        with _ended_by_interrupt(), err.status("loading") as status:
            return load_engines(
                settings, status.update, lambda: _import("agent.server.app"), whole=whole
            )
    finally:
        gc.enable()


@contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """End the process at Ctrl-C: threads that load cannot be stopped, and Python waits for them.

    Nothing is lost: files are put in their place whole, and the voice's process ends with ours.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        if err.is_terminal:
            os.write(err.file.fileno(), b"\x1b[?25h\n")  # the cursor, which a status hides
        os._exit(130)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _import(module: str) -> None:
    importlib.import_module(module)


def ignore_hangups() -> None:
    """Ignore SIGHUP until the server takes it, since by default it kills."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, on uvloop where it exists: it takes a fifth less CPU per call."""
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)
