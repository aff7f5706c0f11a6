"""Loads the engines that the settings name, checks their models, warms them up."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import asr
import tts
from agent import models
from agent.compute import Compute
from agent.config import Settings
from agent.errors import ConfigError
from agent.responders import RESPONDERS, Responder
from agent.smart_turn import SmartTurn
from agent.threads import ThreadPlan, cores, plan
from agent.vad import SileroVad
from agent.work import Engines
from asr.engine import Transcriber
from tts.engine import Synthesizer

Progress = Callable[[str], None]

WITH_MODEL = ("diffusion", "diffusion-gemma")
"""Responders that are given the model of the settings."""

SPARE_SECONDS = 10.0
"""A recogniser takes this much more than the longest turn: pre-roll, last pause, late frames."""


T = TypeVar("T")


class _Engine(Protocol):
    def warm_up(self) -> None: ...


class Do(Protocol):
    """Where a piece of loading is done."""

    def __call__(self, work: Callable[[], T], /) -> T: ...


E = TypeVar("E", bound=_Engine)


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


def find_responder(name: str) -> Callable[..., Responder]:
    """The class behind a name of the table or behind ``package.module:Class``.

    Raises:
        ConfigError: there is no such name, module or class.
    """
    target = RESPONDERS.get(name, name)
    module, colon, attribute = target.partition(":")
    if not colon:
        known = ", ".join(RESPONDERS)
        raise ConfigError(f"no responder {name!r}; there are {known}, or package.module:Class")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the responder {name!r} cannot be loaded: {error}") from error
    if not (hasattr(found, "open") and hasattr(found, "warm_up")):
        raise ConfigError(f"{name!r} is no responder: see agent/responders/base.py")
    return found  # type: ignore[no-any-return]


def model_path(name: str, progress: Progress) -> str | Path:
    """Where a default model lies, verified; other names and paths pass as they are."""
    if name not in models.MODELS:
        return name
    progress(f"verifying {name}")
    models.verify(name)
    return models.locate(name)


def load_asr(settings: Settings, threads: int, progress: Progress) -> Transcriber:
    """Make the recogniser that the settings name."""
    chosen = settings.asr
    if chosen.engine != "whisper":
        return asr.load(chosen.engine)
    return asr.load(
        "whisper",
        model=model_path(chosen.model, progress),
        language=chosen.language,
        compute_type=chosen.compute_type,
        device=chosen.device,
        threads=threads,
        max_seconds=settings.turns.max_turn + SPARE_SECONDS,
    )


def load_responder(settings: Settings, threads: int, progress: Progress) -> Responder:
    """Make the responder that the settings name."""
    chosen = settings.responder
    make = find_responder(chosen.engine)
    if chosen.adapter is not None and chosen.engine != "diffusion":
        raise ConfigError(f"responder.adapter says nothing to {chosen.engine}: leave it out")
    if chosen.engine not in WITH_MODEL:
        return make()
    extra = {} if chosen.adapter is None else {"adapter": chosen.adapter}
    return make(
        model_path(chosen.model, progress),
        dtype=chosen.dtype,
        device=chosen.device,
        threads=threads,
        max_tokens=chosen.max_tokens,
        **extra,
        progress=lambda share, what: progress(f"{what} ({share:.0%})"),
    )


def load_tts(settings: Settings, threads: int, progress: Progress) -> Synthesizer:
    """Make the synthesiser that the settings name."""
    chosen = settings.tts
    if chosen.engine != "piper":
        return tts.load(chosen.engine)
    return tts.load("piper", voice=model_path(chosen.voice, progress), threads=threads)


def load_engines(
    settings: Settings, progress: Progress = lambda line: None
) -> tuple[Engines, list[Loaded]]:
    """Load and warm up everything a call needs (blocking; seconds).

    Raises:
        OnebreathError, AsrError, ResponderError, TtsError: with what to do about it.
    """
    shares = thread_plan(settings)
    table: list[Loaded] = []

    def timed(
        stage: str, engine: str, model: str, threads: int, make: Callable[[], E], do: Do
    ) -> E:
        progress(f"loading {stage}: {engine}")
        began = time.perf_counter()
        made = do(make)
        progress(f"warming up {stage}: {engine}")
        do(made.warm_up)
        seconds = time.perf_counter() - began
        table.append(Loaded(stage, engine, model, _size(model), seconds, threads))
        return made

    with ExitStack() as on_failure:
        compute = Compute()
        on_failure.callback(compute.close)
        began = time.perf_counter()
        new_gate = SileroVad.load()
        table.append(Loaded("vad", "silero", "silero-v6", 0, time.perf_counter() - began, 1))
        chosen_asr, chosen_responder, chosen_tts = settings.asr, settings.responder, settings.tts
        recogniser = timed(
            "asr",
            chosen_asr.engine,
            chosen_asr.model if chosen_asr.engine == "whisper" else "-",
            shares.asr,
            lambda: load_asr(settings, shares.asr, progress),
            compute.do,
        )
        responder = timed(
            "responder",
            chosen_responder.engine,
            chosen_responder.model if chosen_responder.engine in WITH_MODEL else "-",
            shares.responder,
            lambda: load_responder(settings, shares.responder, progress),
            compute.do,
        )
        voice = timed(
            "tts",
            chosen_tts.engine,
            chosen_tts.voice if chosen_tts.engine == "piper" else "-",
            shares.tts,
            lambda: load_tts(settings, shares.tts, progress),
            lambda work: work(),
        )
        turn_model = None
        if settings.turns.turn_model == "smart-turn":
            turn_model = SmartTurn.load()
            turn_model.warm_up()
        on_failure.pop_all()
    voices = ThreadPoolExecutor(settings.server.max_calls, thread_name_prefix="voice")
    return Engines(recogniser, responder, voice, new_gate, compute, voices, turn_model), table


def _size(model: str) -> int:
    if model in models.MODELS:
        return models.get(model).size
    path = Path(model)
    return path.stat().st_size if path.is_file() else 0


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
    for engine in (engines.asr, engines.responder, engines.tts, engines.turn_model):
        if engine is not None:
            engine.close()
