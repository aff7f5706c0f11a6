"""Loading of the engines that the settings name: model checks, threads, warm-up."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import asr
import tts
from agent.audio.smart_turn import SmartTurn
from agent.audio.vad import SileroVad
from agent.compute import Compute
from agent.config.settings import ResponderChoice, Settings
from agent.errors import ConfigError
from agent.models import store
from agent.responders import RESPONDERS, Responder
from agent.responders.ab import AbResponder, Arm
from agent.responders.service import Service
from agent.runtime.engine_tasks import Engines
from agent.runtime.threads import ThreadPlan, cores, plan
from asr.engine import Transcriber
from tts.engine import Synthesizer

Progress = Callable[[str], None]

WITH_MODEL = ("diffusion", "diffusion-gemma", "autoregressive")
"""Responders that load the model named by ``responder.model``."""

SPARE_SECONDS = 10.0
"""Seconds of sound that a recogniser takes beyond the longest turn (pre-roll, pause)."""


T = TypeVar("T")


class _Engine(Protocol):
    def warm_up(self) -> None: ...


class Do(Protocol):
    """Runs a piece of loading on some thread and returns its result."""

    def __call__(self, work: Callable[[], T], /) -> T: ...


E = TypeVar("E", bound=_Engine)


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """A row about one loaded engine, for the table at start-up.

    Attributes:
        stage: vad, asr, responder or tts.
        size: bytes of the model on disk; 0 for an engine without a model file.
        seconds: time that loading and warm-up took.
        threads: threads that it computes with.
    """

    stage: str
    engine: str
    model: str
    size: int
    seconds: float
    threads: int


def find_responder(name: str) -> Callable[..., Responder]:
    """The responder class for a name of `RESPONDERS` or for ``package.module:Class``.

    Raises:
        ConfigError: the name, module or class does not exist, or is not a responder.
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
    """The path of a default model, verified; other names and paths are returned as they are.

    Raises:
        ModelError: the model is missing or damaged.
    """
    if name not in store.MODELS:
        return name
    progress(f"verifying {name}")
    store.verify(name)
    return store.locate(name)


def load_asr(settings: Settings, threads: int, progress: Progress) -> Transcriber:
    """Load the recogniser that the settings name."""
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


def load_responder(
    settings: Settings, threads: int, progress: Progress, compute: Compute
) -> Responder:
    """Load the responder that the settings name, or all arms of an A/B test.

    Raises:
        ConfigError, ModelError, ResponderError: it cannot be loaded; the message says what to do.
    """
    chosen = settings.responder
    if chosen.engine != "ab":
        return make_responder(chosen, threads, progress)
    arms = {
        name: Arm(make_responder(arm, arm.threads or threads, progress), arm.weight)
        for name, arm in chosen.arms.items()
    }
    return AbResponder(arms, compute)


def make_responder(chosen: ResponderChoice, threads: int, progress: Progress) -> Responder:
    """Load one responder; raises as `load_responder` does."""
    make = find_responder(chosen.engine)
    if chosen.engine == "hosted":
        return make(_service(chosen))
    if chosen.adapter is not None and chosen.engine != "diffusion":
        raise ConfigError(f"responder.adapter says nothing to {chosen.engine}: leave it out")
    if chosen.engine not in WITH_MODEL:
        return make()
    extra: dict[str, Any] = {} if chosen.adapter is None else {"adapter": chosen.adapter}
    if chosen.drafter != "auto":
        if chosen.engine != "diffusion":
            raise ConfigError(f"responder.drafter says nothing to {chosen.engine}: leave it out")
        extra["drafter"] = chosen.drafter
    return make(
        model_path(chosen.model, progress),
        dtype=chosen.dtype,
        device=chosen.device,
        threads=threads,
        max_tokens=chosen.max_tokens,
        **extra,
        progress=lambda share, what: progress(f"{what} ({share:.0%})"),
    )


def _service(chosen: ResponderChoice) -> Service:
    return Service(
        chosen.base_url,
        chosen.model,
        api_key=chosen.api_key,
        max_tokens=chosen.max_tokens,
        connect_timeout=chosen.connect_timeout,
        word_timeout=chosen.word_timeout,
        max_retries=chosen.max_retries,
        request=chosen.request,
    )


def load_tts(settings: Settings, threads: int, progress: Progress) -> Synthesizer:
    """Load the synthesiser that the settings name."""
    chosen = settings.tts
    if chosen.engine != "piper":
        return tts.load(chosen.engine)
    return tts.load(
        "piper",
        voice=model_path(chosen.voice, progress),
        threads=threads,
        device=chosen.device,
        lexicon=chosen.lexicon,
    )


@dataclass(frozen=True, slots=True)
class _Loading(Generic[E]):
    """A stage whose engine is to be loaded."""

    stage: str
    engine: str
    model: str
    threads: int
    make: Callable[[], E]

    def done_by(self, do: Do, progress: Progress, table: list[LoadedEngine]) -> E:
        """Load the engine and warm it up on the thread of ``do``; adds a row to the table."""
        progress(f"loading {self.stage}: {self.engine}")
        began = time.perf_counter()
        made = do(self.make)
        progress(f"warming up {self.stage}: {self.engine}")
        do(made.warm_up)
        seconds = time.perf_counter() - began
        size = _size(self.model)
        table.append(LoadedEngine(self.stage, self.engine, self.model, size, seconds, self.threads))
        return made


def load_engines(
    settings: Settings, progress: Progress = lambda line: None
) -> tuple[Engines, list[LoadedEngine]]:
    """Load and warm up all engines that a call needs (blocks for seconds).

    Args:
        progress: takes one line for each step, for display.

    Returns:
        The engines, and one row for each of them.

    Raises:
        OnebreathError, AsrError, ResponderError, TtsError: an engine cannot be loaded; the message
            says what to do.
    """
    shares = thread_plan(settings)
    table: list[LoadedEngine] = []
    with ExitStack() as on_failure:
        compute = Compute()
        on_failure.callback(compute.close)
        began = time.perf_counter()
        new_gate = SileroVad.load()
        table.append(LoadedEngine("vad", "silero", "silero-v6", 0, time.perf_counter() - began, 1))
        recogniser, responder, voice = _stages(settings, shares, progress, compute)
        engines = Engines(
            recogniser.done_by(compute.do, progress, table),
            responder.done_by(compute.do, progress, table),
            # The voice has a process of its own.
            voice.done_by(lambda work: work(), progress, table),
            new_gate,
            compute,
            ThreadPoolExecutor(settings.server.max_calls, thread_name_prefix="voice"),
        )
        if settings.turns.turn_model == "smart-turn":
            turn_model = SmartTurn.load()
            turn_model.warm_up()
            engines = replace(engines, turn_model=turn_model)
        on_failure.pop_all()
    return engines, table


def _stages(
    settings: Settings, shares: ThreadPlan, progress: Progress, compute: Compute
) -> tuple[_Loading[Transcriber], _Loading[Responder], _Loading[Synthesizer]]:
    words, reply, voice = settings.asr, settings.responder, settings.tts
    return (
        _Loading(
            "asr",
            words.engine,
            words.model if words.engine == "whisper" else "-",
            shares.asr,
            lambda: load_asr(settings, shares.asr, progress),
        ),
        _Loading(
            "responder",
            reply.engine,
            reply.model if reply.engine in (*WITH_MODEL, "hosted") else "-",
            shares.responder,
            lambda: load_responder(settings, shares.responder, progress, compute),
        ),
        _Loading(
            "tts",
            voice.engine,
            voice.voice if voice.engine == "piper" else "-",
            shares.tts,
            lambda: load_tts(settings, shares.tts, progress),
        ),
    )


def _size(model: str) -> int:
    if model in store.MODELS:
        return store.get(model).size
    path = Path(model)
    return path.stat().st_size if path.is_file() else 0


def thread_plan(settings: Settings) -> ThreadPlan:
    """Threads by engine: the number in the settings, or a share of this machine's cores."""
    return plan(
        cores(),
        asr=settings.asr.threads,
        responder=settings.responder.threads,
        tts=settings.tts.threads,
    )


def keep_loaded() -> None:
    """Exempt all loaded objects from garbage collection, before the first call.

    A full collection visits every object of every library; it was seen to stall all calls of
    the process for 100 ms.
    """
    gc.collect()
    gc.freeze()


def close_engines(engines: Engines) -> None:
    """Stop the threads and processes of all engines."""
    engines.compute.close()
    engines.voices.shutdown(wait=False, cancel_futures=True)
    for engine in (engines.asr, engines.responder, engines.tts, engines.turn_model):
        if engine is not None:
            engine.close()
