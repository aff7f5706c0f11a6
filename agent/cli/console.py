"""What all commands share: consoles, options, settings from flags."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

if TYPE_CHECKING:
    from agent.config.settings import Settings
    from agent.runtime.engine_tasks import Engines
    from agent.runtime.engines import LoadedEngine

out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file; default onebreath.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document per line.")]
ResponderOption = Annotated[
    str | None,
    typer.Option(help="diffusion, autoregressive, hosted, ab, scripted or package.module:Class."),
]
ModelOption = Annotated[
    str | None, typer.Option(help="Model of the responder: name, GGUF file or directory.")
]


def settings_from(config: Path | None, flags: dict[str, dict[str, Any]] | None = None) -> Settings:
    """Merge file, environment and flags, and start logging as they say."""
    from agent.config.sources import load_settings

    settings = load_settings(flags, config)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(message)s",
        datefmt="%H:%M:%S",
        handlers=[RichHandler(console=err, show_path=False)],
    )
    for chatty in ("uvicorn.error", "faster_whisper", "websockets", "asyncio", "aioice"):
        logging.getLogger(chatty).setLevel("WARNING")
    return settings


def load(settings: Settings) -> tuple[Engines, list[LoadedEngine]]:
    """Load the engines; the terminal shows what is being done."""
    from agent.runtime.engines import load_engines

    with err.status("loading") as status:
        return load_engines(settings, progress=status.update)


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where there is one: a call costs a fifth less of a core."""
    if sys.platform == "win32":
        asyncio.run(work)
        return
    import uvloop

    uvloop.run(work)
