"""Loading of the engines that the settings name: model checks, threads, warm-up."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, Generic, Protocol, TypeVar, cast

import asr
import tts
from agent.audio.vad import SileroVad, SpeechGateFactory
from agent.compute import Compute
from agent.config.settings import ResponderChoice, Settings
from agent.errors import ConfigError
from agent.models import store
from agent.models.decision_heads import shipped_heads
from agent.models.turn_heads import shipped_head
from agent.responders import RESPONDERS, Responder
from agent.responders.ab import AbResponder, Arm
from agent.responders.service import Service
from agent.runtime import engine_names, plugins
from agent.runtime.engine_tasks import Engines, TurnModel
from agent.runtime.recorded_voice import RecordedVoice, fixed_sentences
from agent.runtime.threads import ThreadPlan, cores, plan
from agent.runtime.warming import WarmUp, warm_up_of
from agent.tools.toolbox import load_tools
from asr.engine import Transcriber
from tts.engine import Synthesizer

Progress = Callable[[str], None]

WITH_MODEL = ("diffusion", "diffusion-gemma", "autoregressive")
"""Responders that load the model named by ``responder.model``."""

SPARE_SECONDS = 10.0
"""Seconds of sound that a recogniser takes beyond the longest turn (pre-roll, pause)."""


T = TypeVar("T")


class Do(Protocol):
    """Runs a piece of loading on some thread and returns its result."""

    def __call__(self, work: Callable[[], T], /) -> T: ...


E = TypeVar("E", bound=WarmUp)


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
    if name in RESPONDERS:
        module, _, attribute = RESPONDERS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    if ":" in name:
        return plugins.factory(plugins.RESPONDER, name)
    known = ", ".join(RESPONDERS)
    raise ConfigError(f"no responder {name!r}; there are {known}, or package.module:Class")


def model_path(name: str, progress: Progress) -> str | Path:
    """The path of a default model, verified; other names and paths are returned as they are.

    Raises:
        ModelError: the model is missing or damaged.
    """
    if name not in store.MODELS:
        return name
    progress(f"verifying {name}")
    store.verify(name, anew=False)
    return store.locate(name)


def load_asr(settings: Settings, threads: int, progress: Progress) -> Transcriber:
    """Load the recogniser that the settings name."""
    chosen = settings.asr
    if ":" in chosen.engine:
        return cast(Transcriber, plugins.made(plugins.RECOGNISER, chosen.engine))
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
    engine_names.check_responder(chosen)
    if ":" in chosen.engine:
        return cast(Responder, plugins.made(plugins.RESPONDER, chosen.engine))
    make = find_responder(chosen.engine)
    if chosen.engine == "hosted":
        _refuse_decoding(chosen)
        return make(_service(chosen))
    if chosen.engine == "ray":
        _refuse_decoding(chosen)
        return make(_cluster(chosen))
    if chosen.adapter is not None and chosen.engine != "diffusion":
        raise ConfigError(f"responder.adapter says nothing to {chosen.engine}: leave it out")
    if chosen.engine != "diffusion":
        _refuse_decoding(chosen)
    if chosen.engine not in WITH_MODEL:
        return make()
    extra: dict[str, Any] = {} if chosen.adapter is None else {"adapter": chosen.adapter}
    if chosen.engine == "diffusion":
        extra |= {"decoding": chosen.decoding(), **chosen.loading()}
    if chosen.drafter != "auto":
        if chosen.engine != "diffusion":
            raise ConfigError(f"responder.drafter says nothing to {chosen.engine}: leave it out")
        extra["drafter"] = chosen.drafter
    if chosen.engine == "diffusion" and (head := _turn_head(chosen)) is not None:
        extra["turn_head"] = head
    return make(
        model_path(chosen.model, progress),
        dtype=chosen.dtype,
        device=chosen.device,
        threads=threads,
        max_tokens=chosen.max_tokens,
        **extra,
        progress=lambda share, what: progress(f"{what} ({share:.0%})"),
    )


def _turn_head(chosen: ResponderChoice) -> Path | None:
    """The head for ends of turns; an adapter changes the states that a shipped one was made for."""
    if chosen.turn_head == "off":
        return None
    if chosen.turn_head != "auto":
        return Path(chosen.turn_head)
    return None if chosen.adapter is not None else shipped_head(chosen.model)


def _refuse_decoding(chosen: ResponderChoice) -> None:
    names = [f"responder.{name}" for name in (*chosen.decoding(), *chosen.loading())]
    if names:
        raise ConfigError(
            f"{', '.join(names)}: only the engine diffusion denoises; leave it out for "
            f"{chosen.engine}"
        )


def _service(chosen: ResponderChoice) -> Service:
    return Service(
        chosen.base_url,
        chosen.model,
        api_key=chosen.api_key,
        max_tokens=chosen.max_tokens,
        connect_timeout=chosen.connect_timeout,
        word_timeout=chosen.word_timeout,
        thinking_timeout=chosen.thinking_timeout,
        max_retries=chosen.max_retries,
        request=chosen.request,
    )


def _cluster(chosen: ResponderChoice) -> object:
    from agent.responders.ray_connection import Cluster  # only here: it may not be installed

    return Cluster(
        chosen.base_url,
        chosen.api_key,
        max_tokens=chosen.max_tokens,
        connect_timeout=chosen.connect_timeout,
        word_timeout=chosen.word_timeout,
        max_retries=chosen.max_retries,
    )


def load_tts(settings: Settings, threads: int, progress: Progress) -> Synthesizer:
    """Load the synthesiser that the settings name."""
    chosen = settings.tts
    if ":" in chosen.engine:
        made = cast(Synthesizer, plugins.made(plugins.VOICE, chosen.engine))
        return RecordedVoice(made, fixed_sentences(settings.call))
    options: dict[str, Any] = {}
    if chosen.engine == "piper":
        voice = model_path(chosen.voice, progress)
        options = {"voice": voice, "threads": threads, "device": chosen.device}
        options["lexicon"] = chosen.lexicon
    return RecordedVoice(tts.load(chosen.engine, **options), fixed_sentences(settings.call))


@dataclass(frozen=True, slots=True)
class _Loading(Generic[E]):
    """A stage whose engine is to be loaded.

    Attributes:
        whole: whether all of the warm-up is done now; see `agent.runtime.warming`.
        made: set once the engine is loaded, or has failed; its warm-up follows.
    """

    stage: str
    engine: str
    model: str
    threads: int
    make: Callable[[], E]
    whole: bool = True
    made: Event = field(default_factory=Event)

    def done_by(self, do: Do, progress: Progress, table: dict[str, LoadedEngine]) -> E:
        """Load the engine and warm it up on the thread of ``do``; adds a row to the table."""
        progress(f"loading {self.stage}: {self.engine}")
        began = time.perf_counter()
        try:
            made = do(self.make)
        finally:
            self.made.set()
        progress(f"warming up {self.stage}: {self.engine}")
        do(warm_up_of(made, whole=self.whole))
        seconds = time.perf_counter() - began
        size = _size(self.model)
        row = LoadedEngine(self.stage, self.engine, self.model, size, seconds, self.threads)
        table[self.stage] = row
        return made


def load_engines(
    settings: Settings,
    progress: Progress = lambda line: None,
    meanwhile: Callable[[], None] = lambda: None,
    *,
    whole: bool = True,
) -> tuple[Engines, list[LoadedEngine]]:
    """Load and warm up all engines that a call needs (blocks for seconds).

    Args:
        progress: takes one line for each step, for display.
        meanwhile: other work of the start, such as imports. It runs while the responder warms up,
            for that leaves Python's lock to others.
        whole: whether all of the warm-up is done. If not, `warming.warm_up_rest` has to follow.

    Returns:
        The engines, and one row for each of them.

    Raises:
        OnebreathError, AsrError, ResponderError, TtsError: an engine cannot be loaded; the message
            says what to do.
    """
    engine_names.check(settings)
    tools = load_tools(settings.tools)
    shares = thread_plan(settings)
    table: dict[str, LoadedEngine] = {}
    with ExitStack() as on_failure:
        compute = Compute()
        on_failure.callback(compute.close)
        stages = _stages(settings, shares, progress, compute, whole)
        new_gate, parts = _loaded_together(stages, compute, progress, table, meanwhile)
        for engine in parts:
            on_failure.callback(engine.close)
        voices = ThreadPoolExecutor(settings.server.max_calls, thread_name_prefix="voice")
        engines = Engines(*parts, new_gate, compute, voices, tools=tools)
        _use_decisions(settings, engines.responder, compute)
        if settings.turns.turn_model == "smart-turn":
            engines = replace(engines, turn_model=_turn_model())
        on_failure.pop_all()
    return engines, [table[stage] for stage in ("vad", "asr", "responder", "tts")]


def _turn_model() -> TurnModel:
    from agent.audio.smart_turn import SmartTurn

    model = SmartTurn.load()
    model.warm_up()
    return model


def _gate(table: dict[str, LoadedEngine]) -> SpeechGateFactory:
    """Load the VAD; adds a row to the table."""
    began = time.perf_counter()
    new_gate = SileroVad.load()
    seconds = time.perf_counter() - began
    table["vad"] = LoadedEngine("vad", "silero", "silero-v6", 0, seconds, 1)
    return new_gate


def _use_decisions(settings: Settings, responder: Responder, compute: Compute) -> None:
    """Give the questions of the settings to a responder that answers them, with their heads."""
    asked, chosen = settings.decisions.asked, settings.responder
    use = getattr(responder, "use_decisions", None)
    if not asked or use is None:
        if settings.decisions.heads:
            raise ConfigError(
                f"decisions.heads: the responder {chosen.engine} has no heads; leave it out, or "
                "use the engine diffusion and name questions in decisions.ask"
            )
        return
    shipped = shipped_heads(chosen.model) if chosen.adapter is None else None
    heads = [*([] if shipped is None else [shipped]), *settings.decisions.heads]
    compute.do(lambda: use(asked, heads, chosen.instructions))


_Stages = tuple["_Loading[Transcriber]", "_Loading[Responder]", "_Loading[Synthesizer]"]
_Parts = tuple[Transcriber, Responder, Synthesizer]


def _loaded_together(
    stages: _Stages,
    compute: Compute,
    progress: Progress,
    table: dict[str, LoadedEngine],
    meanwhile: Callable[[], None],
) -> tuple[SpeechGateFactory, _Parts]:
    """Load the engines at the same time; when one fails, close the others and raise its error.

    The responder is loaded on the compute thread, and so is a recogniser other than whisper, which
    may keep what belongs to one thread. The voice has a process of its own, which starts first.
    """
    words, reply, voice = stages
    apart = words.engine == "whisper"

    def beside() -> None:
        reply.made.wait()
        meanwhile()

    with ThreadPoolExecutor(5, thread_name_prefix="loading") as pool:

        def start(stage: _Loading[E], do: Do) -> Future[E]:
            return pool.submit(stage.done_by, do, progress, table)

        spoken = start(voice, _here)
        answered = start(reply, compute.do)
        heard = start(words, _here if apart else compute.do)
        gated, other = pool.submit(_gate, table), pool.submit(beside)
    engines: tuple[Future[Any], ...] = (heard, answered, spoken)
    failures = (future.exception() for future in (*engines, gated, other))
    if failed := next((error for error in failures if error), None):
        for each in engines:
            if each.exception() is None:
                each.result().close()
        raise failed
    return gated.result(), (heard.result(), answered.result(), spoken.result())


def _here(work: Callable[[], T], /) -> T:
    return work()


def _stages(
    settings: Settings, shares: ThreadPlan, progress: Progress, compute: Compute, whole: bool
) -> _Stages:
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
            whole,
        ),
        _Loading(
            "tts",
            voice.engine,
            voice.voice if voice.engine == "piper" else "-",
            shares.tts,
            lambda: load_tts(settings, shares.tts, progress),
            whole,
        ),
    )


def _size(model: str) -> int:
    if model in store.MODELS:
        return store.get(model).size
    path = Path(model)
    return path.stat().st_size if path.is_file() else 0


def thread_plan(settings: Settings) -> ThreadPlan:
    """Threads by engine: the number in the settings, or a share of this machine's cores.

    The processes of a server divide the cores, since they work at the same time.
    """
    return plan(
        max(1, cores() // settings.server.workers),
        asr=settings.asr.threads,
        responder=settings.responder.threads,
        tts=settings.tts.threads,
    )


def keep_loaded() -> None:
    """Exempt all loaded objects from garbage collection, before the first call.

    A full collection visits every object of every library; it was seen to stall all calls of
    the process for 100 ms. Nothing is collected first: that takes as long, and of the 300,000
    objects after a start, 20 were found to be garbage.
    """
    gc.freeze()


def close_engines(engines: Engines) -> None:
    """Stop the threads and processes of all engines."""
    engines.compute.close()
    engines.voices.shutdown(wait=False, cancel_futures=True)
    for engine in (engines.asr, engines.responder, engines.tts, engines.turn_model):
        if engine is not None:
            engine.close()
