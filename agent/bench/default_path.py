"""``onebreath bench``: the latency figures of the default path on this machine."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import psutil

from agent.audio.samples import AUDIBLE_DBFS, first_above, read_sound_file
from agent.bench.figures import Figure, Progress, figure
from agent.bench.questions import bundled
from agent.bench.server_process import cpu_seconds, resident, running_server
from agent.config.settings import Settings
from agent.errors import CallError
from agent.latency.caller import Caller
from agent.latency.realtime import RealtimeConnection
from agent.latency.results import TurnResult
from agent.questions import bundled_questions
from agent.runtime.engines import load_asr, load_tts, thread_plan
from asr.engine import RATE

SENTENCE = "The capital of France is Paris, a city on the river Seine."
UTTERANCE_SECONDS = 3.0
"""Length of the speech for the recogniser, in seconds."""
IDLE_SECONDS = 5.0
"""Length of the silent call, in seconds."""


def run_bench(
    settings: Settings, config: Path | None, turns: int, progress: Progress
) -> list[Figure]:
    """Measure recogniser, synthesizer and whole turns; takes about ten seconds per turn.

    Args:
        settings: settings of the engines in this process.
        config: settings file of the server; None: the default one.
        turns: number of samples of each figure.
        progress: called with a description of each step.

    Raises:
        CallError: the server does not start, or a turn gets no reply.
    """
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
    progress("recogniser: final transcript of 3 s of speech")
    asr = load_asr(settings, thread_plan(settings).asr, progress)
    asr.warm_up()
    spoken = [read_sound_file(path, RATE).samples for path in bundled_questions()[:2]]
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
    progress("synthesizer: first audible sound of a sentence")
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


async def _calls(
    url: str, process: psutil.Process, turns: int, progress: Progress
) -> tuple[list[TurnResult], float, float]:
    questions = bundled()
    asked = [questions[number % len(questions)] for number in range(turns + 1)]
    rows = []
    async for row in Caller(RealtimeConnection(url)).turns(asked):
        progress(f"turn {row.turn} of {turns + 1}: {row.voice_to_voice_ms} ms")
        rows.append(row)
    progress("silent call")
    idle = await _idle_cpu(url, process)
    return rows[1:], idle, resident(process)  # the first turn is a warm-up


async def _idle_cpu(url: str, process: psutil.Process) -> float:
    """CPU of the server during a silent call, in percent of one core."""
    async with Caller(RealtimeConnection(url)).silence():
        await asyncio.sleep(1.0)
        began, used = time.monotonic(), cpu_seconds(process)
        await asyncio.sleep(IDLE_SECONDS)
        return (cpu_seconds(process) - used) / (time.monotonic() - began) * 100
