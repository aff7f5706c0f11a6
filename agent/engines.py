"""Loads the engines that the settings name, checks their models, warms them up."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import models
from agent.compute import Compute
from agent.config import Settings
from agent.errors import ConfigError
from agent.responders import RESPONDERS
from agent.runner import Engines
from agent.threads import ThreadPlan, cores, plan
from agent.vad import SileroVad
from asr import TRANSCRIBERS
from tts import SYNTHESIZERS

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One engine as it was loaded, for the table at start-up."""

    stage: str
    engine: str
    model: str
    size: int
    """Bytes on disk; 0 where there is no model."""
    seconds: float
    threads: int


def find(kind: str, name: str, known: Mapping[str, str]) -> Callable[..., Any]:
    """The class behind a name of the table or behind ``package.module:Class``.

    Raises:
        ConfigError: there is no such name, module or class.
    """
    target = known.get(name, name)
    module, colon, attribute = target.partition(":")
    if not colon:
        names = ", ".join(known)
        raise ConfigError(f"no {kind} {name!r}; there are {names}, or package.module:Class")
    try:
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{kind} {name!r} cannot be loaded: {error}") from error


def model_path(name: str, progress: Progress) -> tuple[str | Path, int]:
    """Where a default model lies, verified, and its size; other names pass as they are."""
    if name in models.MODELS:
        progress(f"verifying {name}")
        models.verify(name)
        return models.locate(name), models.get(name).size
    path = Path(name)
    return name, path.stat().st_size if path.is_file() else 0


class _Loader:
    """Loads one engine after the other and notes what it cost."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.table: list[Loaded] = []

    def load(
        self, stage: str, engine: str, model: str, threads: int, make: Callable[[], Any]
    ) -> Any:
        self.progress(f"loading {stage}: {engine} {model}".rstrip())
        began = time.perf_counter()
        made = make()
        self.progress(f"warming up {stage}")
        made.warm_up()
        size = models.get(model).size if model in models.MODELS else 0
        seconds = time.perf_counter() - began
        self.table.append(Loaded(stage, engine, model or "-", size, seconds, threads))
        return made


def load_asr(settings: Settings, threads: int, progress: Progress) -> Any:
    """Make the recogniser that the settings name."""
    chosen = settings.asr
    make = find("recogniser", chosen.engine, TRANSCRIBERS)
    if chosen.engine != "whisper":
        return make()
    return make(
        model_path(chosen.model, progress)[0],
        language=chosen.language,
        compute_type=chosen.compute_type,
        device=chosen.device,
        threads=threads,
    )


def load_responder(settings: Settings, threads: int, progress: Progress) -> Any:
    """Make the responder that the settings name."""
    chosen = settings.responder
    make = find("responder", chosen.engine, RESPONDERS)
    if chosen.engine != "diffusion":
        return make()
    return make(
        model_path(chosen.model, progress)[0],
        dtype=chosen.dtype,
        device=chosen.device,
        threads=threads,
        max_tokens=chosen.max_tokens,
        progress=progress,
    )


def load_tts(settings: Settings, threads: int, progress: Progress) -> Any:
    """Make the synthesiser that the settings name."""
    chosen = settings.tts
    make = find("synthesiser", chosen.engine, SYNTHESIZERS)
    if chosen.engine != "piper":
        return make()
    return make(model_path(chosen.voice, progress)[0], threads=threads)


def load_engines(
    settings: Settings, progress: Progress = lambda line: None
) -> tuple[Engines, list[Loaded]]:
    """Load and warm up everything a call needs (blocking; seconds).

    Raises:
        OnebreathError, AsrError, ResponderError, TtsError: with what to do about it.
    """
    shares = thread_plan(settings)
    loader = _Loader(progress)
    began = time.perf_counter()
    new_gate = SileroVad.load()
    loader.table.append(Loaded("vad", "silero", "silero-v6", 0, time.perf_counter() - began, 1))
    asr = loader.load(
        "asr",
        settings.asr.engine,
        settings.asr.model if settings.asr.engine == "whisper" else "",
        shares.asr,
        lambda: load_asr(settings, shares.asr, progress),
    )
    responder = loader.load(
        "responder",
        settings.responder.engine,
        settings.responder.model if settings.responder.engine == "diffusion" else "",
        shares.responder,
        lambda: load_responder(settings, shares.responder, progress),
    )
    tts = loader.load(
        "tts",
        settings.tts.engine,
        settings.tts.voice if settings.tts.engine == "piper" else "",
        shares.tts,
        lambda: load_tts(settings, shares.tts, progress),
    )
    voices = ThreadPoolExecutor(settings.server.max_calls, thread_name_prefix="voice")
    return Engines(asr, responder, tts, new_gate, Compute(), voices), loader.table


def thread_plan(settings: Settings) -> ThreadPlan:
    """Threads by engine: what the settings say, else a share of this machine's cores."""
    return plan(
        cores(),
        asr=settings.asr.threads,
        responder=settings.responder.threads,
        tts=settings.tts.threads,
    )


def close_engines(engines: Engines) -> None:
    """Stop the threads and processes of all engines."""
    engines.compute.close()
    engines.voices.shutdown(wait=False, cancel_futures=True)
    for engine in (engines.asr, engines.responder, engines.tts):
        engine.close()
