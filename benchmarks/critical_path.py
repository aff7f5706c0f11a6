"""The critical path of spoken turns in virtual time: what each stage takes, and its floor.

    python benchmarks/critical_path.py --questions 14
    python benchmarks/critical_path.py --questions 14 --plain --rows path.jsonl

The questions of ``onebreath bench turns`` are asked in one call of a server in this process. Its
clock counts the CPU time of the engines, one thread each (ADR 32), so a busy machine changes the
figures little; network and event loop take no time. A row of ``--rows`` has the spans and the work
of one turn. The table has, of the turns that one final transcript ended (in ms after the end of
speech): when the final words, prefill, first segment and first sound began and how long they took,
median and most; and the delay that ended the turn. ``--plain`` encodes whole windows for final
words. Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from agent.runtime.threads import calm  # noqa: E402

calm()

from agent.bench.questions import spoken_questions  # noqa: E402
from agent.bench.virtual_call import VirtualConnection, measured_engines  # noqa: E402
from agent.bench.virtual_time import in_virtual_time  # noqa: E402
from agent.config.settings import Settings  # noqa: E402
from agent.latency.caller import Caller  # noqa: E402
from agent.latency.connection import ReceivedEvent  # noqa: E402
from agent.latency.question import SpokenQuestion  # noqa: E402
from agent.latency.realtime import received_events  # noqa: E402
from agent.runtime.engine_tasks import Engines  # noqa: E402
from asr.padding import EncodedPadding  # noqa: E402

Event = dict[str, Any]
STAGES = ("asr", "prefill", "denoise", "tts")


class WatchedConnection(VirtualConnection):
    """A call whose events are kept."""

    def __init__(self, engines: Engines, settings: Settings) -> None:
        super().__init__(engines, settings)
        self.events: list[Event] = []

    async def receive(self) -> AsyncIterator[ReceivedEvent]:
        while (text := await self._socket.to_client.get()) is not None:
            self.events.append(json.loads(text))
            for received in received_events(self.events[-1]):
                yield received


def row_of(result: Any, events: Sequence[Event]) -> dict[str, Any]:
    """One turn: voice to voice, spans and work in ms, number of ends of turns."""
    timed = [event for event in events if event["type"] == "onebreath.turn.timings"]
    return {
        "file": result.file,
        "heard": result.heard,
        "answered": result.answered,
        "voice_to_voice_ms": result.voice_to_voice_ms,
        "spans": result.spans,
        "work": timed[-1]["work"] if timed else [],
        "speculation": timed[-1]["speculation"] if timed else None,
        "ends": sum(event["type"] == "input_audio_buffer.committed" for event in events),
        "error": result.error,
    }


async def ask(
    engines: Engines, settings: Settings, asked: Sequence[SpokenQuestion]
) -> list[dict[str, Any]]:
    connection = WatchedConnection(engines, settings)
    rows = []
    async for result in Caller(connection).turns(asked):
        rows.append(row_of(result, connection.events))
        connection.events.clear()
    return rows


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Beginning and length of each stage, and the whole."""
    found = []
    for stage in STAGES:
        spans = [work for row in rows for work in row["work"] if work["stage"] == stage]
        lengths = [work["end_ms"] - work["start_ms"] for work in spans]
        if lengths:
            begins = statistics.median(work["start_ms"] for work in spans)
            found.append({"what": stage, "begins_ms": round(begins), **middle_and_most(lengths)})
    waits = [row["spans"]["endpoint_wait"] for row in rows if row["spans"]]
    whole = [row["voice_to_voice_ms"] for row in rows if row["voice_to_voice_ms"] is not None]
    found += [{"what": "endpoint_wait", **middle_and_most(waits)}] if waits else []
    return [*found, *([{"what": "voice_to_voice", **middle_and_most(whole)}] if whole else [])]


def middle_and_most(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median_ms": round(statistics.median(values)),
        "least_ms": round(min(values)),
        "most_ms": round(max(values)),
        "n": len(values),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=14)
    parser.add_argument("--plain", action="store_true", help="encode whole windows")
    parser.add_argument("--speculate-after", type=float, help="seconds; default: the setting")
    parser.add_argument("--rows", type=Path, help="file for a row of each turn")
    options = parser.parse_args()
    if options.plain:
        EncodedPadding.keep = lambda self, encoded, speech_frames: None  # type: ignore[method-assign]
    settings = Settings()
    if options.speculate_after is not None:
        changed = {"speculate_after": options.speculate_after}
        turns = settings.turns.model_copy(update=changed)
        settings = settings.model_copy(update={"turns": turns})
    asked, _, _ = spoken_questions(options.questions)
    with measured_engines(settings, lambda line: print(line, file=sys.stderr)) as engines:
        rows = in_virtual_time(ask(engines, settings, asked))
    if options.rows is not None:
        options.rows.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    for line in table(rows):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
