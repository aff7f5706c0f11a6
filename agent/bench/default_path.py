"""The figures of the README's latency table, taken on this machine."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from agent.audio import AUDIBLE_DBFS, first_above, read_recording
from agent.config import Settings
from agent.engines import load_asr, load_tts, thread_plan
from agent.errors import CallError
from agent.latency.caller import Caller
from agent.latency.question import Question, read_questions
from agent.latency.realtime import RealtimeWire
from agent.latency.results import TurnResult
from agent.questions import bundled_questions
from agent.server import listen
from asr.engine import RATE

SENTENCE = "The capital of France is Paris, a city on the river Seine."
UTTERANCE_SECONDS = 3.0
IDLE_SECONDS = 5.0
START_SECONDS = 120.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    name: str
    unit: str
    value: float
    """The median, where there are several samples."""
    worst: float
    n: int
    target: float | None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None where there is none."""
        return None if self.target is None else self.value <= self.target

    def to_row(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def figure(name: str, unit: str, samples: list[float], target: float | None = None) -> Figure:
    median = statistics.median(samples)
    return Figure(name, unit, round(median, 2), round(max(samples), 2), len(samples), target)


def run_bench(
    settings: Settings, config: Path | None, turns: int, progress: Progress
) -> list[Figure]:
    """Measure everything, with the settings that ``config`` gives; takes ten seconds a turn."""
    figures = [_asr(settings, turns, progress), _first_sound(settings, turns, progress)]
    with running_server(progress, config=config) as (port, process):
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        rows, idle, rss = asyncio.run(_calls(url, process, turns, progress))
    heard = [row.voice_to_voice_ms for row in rows if row.voice_to_voice_ms is not None]
    if len(heard) < len(rows):
        raise CallError(f"{len(rows) - len(heard)} of {len(rows)} turns got no reply")
    figures.append(figure("voice to voice", "ms", heard, 3000.0))
    figures += [
        figure(f"  {span}", "ms", [row.spans[span] for row in rows]) for span in rows[0].spans
    ]
    figures.append(figure("CPU of a silent call", "% of a core", [idle], 5.0))
    figures.append(figure("resident memory", "GB", [rss], 2.5))
    return figures


def _asr(settings: Settings, turns: int, progress: Progress) -> Figure:
    progress("recogniser: final words of 3 s of speech")
    asr = load_asr(settings, thread_plan(settings).asr, progress)
    asr.warm_up()
    spoken = [read_recording(path, RATE).samples for path in bundled_questions()[:2]]
    speech = np.concatenate(spoken)[: int(UTTERANCE_SECONDS * RATE)]
    samples = []
    for _ in range(turns):
        listening = asr.listen()
        listening.feed(speech)
        began = time.perf_counter()
        listening.finish()
        samples.append((time.perf_counter() - began) * 1000)
        listening.close()
    asr.close()
    return figure("ASR final of 3 s", "ms", samples, 450.0)


def _first_sound(settings: Settings, turns: int, progress: Progress) -> Figure:
    progress("voice: first sound after the text")
    tts = load_tts(settings, thread_plan(settings).tts, progress)
    tts.warm_up()
    samples = []
    for _ in range(turns):
        began = time.perf_counter()
        for chunk in tts.speak(SENTENCE):
            if first_above(chunk.samples, AUDIBLE_DBFS) is not None:
                samples.append((time.perf_counter() - began) * 1000)
                break
    tts.close()
    return figure("first sound after text", "ms", samples, 200.0)


@contextmanager
def running_server(
    progress: Progress,
    *,
    config: Path | None = None,
    flags: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, psutil.Process]]:
    """A server in a process of its own, so that its CPU and memory are its own; its port.

    Args:
        config: its settings; ``variables`` of the environment go before them, ``flags`` of the
            command line before both.

    Raises:
        CallError: it does not start.
    """
    progress("starting a server")
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    sock.close()
    command = [sys.executable, "-m", "agent", "serve", "--host", "127.0.0.1", "--port", str(port)]
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
    deadline = time.monotonic() + START_SECONDS
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
    raise CallError(f"the server was not ready within {START_SECONDS:.0f} s")


async def _calls(
    url: str, process: psutil.Process, turns: int, progress: Progress
) -> tuple[list[TurnResult], float, float]:
    questions = bundled()
    asked = [questions[number % len(questions)] for number in range(turns + 1)]
    rows = []
    async for row in Caller(RealtimeWire(url)).turns(asked):
        progress(f"turn {row.turn} of {turns + 1}: {row.voice_to_voice_ms} ms")
        rows.append(row)
    progress("a silent call")
    idle = await _idle_cpu(url, process)
    return rows[1:], idle, _resident(process)  # the first turn warms up


def bundled() -> list[Question]:
    """The recordings that come with the package, by their names: rows are read elsewhere, too."""
    asked = read_questions(bundled_questions(), lambda note: None)
    return [replace(question, name=Path(question.name).name) for question in asked]


async def _idle_cpu(url: str, process: psutil.Process) -> float:
    """Percent of one core that the server takes while a caller says nothing."""
    async with Caller(RealtimeWire(url)).silence():
        await asyncio.sleep(1.0)
        began, used = time.monotonic(), cpu_seconds(process)
        await asyncio.sleep(IDLE_SECONDS)
        return (cpu_seconds(process) - used) / (time.monotonic() - began) * 100


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """Of the process and its children, since they began."""
    times = [p.cpu_times() for p in _family(process)]
    return float(sum(t.user + t.system for t in times))


def _resident(process: psutil.Process) -> float:
    return float(sum(p.memory_info().rss for p in _family(process))) / 1e9
