"""``onebreath bench decisions``: ten questions in one pass, beside ten passes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

from agent.bench.decisions_server import decision_server
from agent.bench.figures import Progress
from agent.bench.routing import run_routing
from dllm_core.engine import Engine
from dllm_core.tasks.decide import Answer, Decider
from dllm_core.tasks.questions import Choice, Extract, Question, Score, YesNo

INSTRUCTIONS = "You are a helpful voice assistant. Answer in one or two short sentences."

QUESTIONS: Final[tuple[Question, ...]] = (
    YesNo(name="opt_out", text="Never call again"),
    YesNo(name="human", text="Wants a human"),
    YesNo(name="voicemail", text="Voicemail greeting"),
    YesNo(name="hold", text="Hold music"),
    YesNo(name="frustrated", text="Frustrated"),
    YesNo(name="off_topic", text="Off topic"),
    Choice(name="intent", text="Intent", options=("booking", "billing", "delivery", "other")),
    Choice(name="language", text="Language", options=("English", "Spanish", "German", "French")),
    Score(name="satisfaction", text="Satisfaction", low=1, high=5),
    Extract(name="number", text="Number", type="integer"),
)
"""Ten questions of all kinds, in few words each."""

TURNS: Final = (
    "hello i have been waiting for my parcel for two weeks now where is it",
    "could you please put me through to a real person i have asked twice now",
    "hi you have reached anna please leave a message after the tone",
    "please take me off your list and never call this number again",
    "i'd like to book a table for four on saturday at seven",
    "there are 3 charges on my bill that i do not understand",
)
"""What callers say, one turn of a call each."""


def run_decisions(
    source: str | Path,
    *,
    threads: int | None,
    device: str,
    rounds: int,
    progress: Progress,
    routing: bool = True,
) -> Iterator[dict[str, Any]]:
    """Measure decisions behind cached prompts, and routing; yields rows, the summary last.

    Args:
        source, threads, device: see `Engine.load`.
        rounds: how often every turn is decided on.
        progress: called with a description of the current step.
        routing: whether to measure the routing by intents.
    """
    engine = Engine.load(source, threads=threads, device=device)
    decider = Decider(engine, QUESTIONS, before=[("system", INSTRUCTIONS)])
    decider.warm_up()
    rows, valid = list[dict[str, Any]](), list[bool]()
    prompts = [_prompt(engine, turn) for turn in TURNS]
    cache = engine.new_cache()
    with decision_server(engine, QUESTIONS) as hosted:
        for number in range(rounds + 1):
            progress(f"round {number} of {rounds}")
            for turn, ids in zip(TURNS, prompts, strict=True):
                engine.prefill(ids, cache)
                row: dict[str, Any] = {"what": "turn"}
                for name, decide in (("ten", decider.decide), ("apart", decider.decide_apart)):
                    with _timed(row, name):
                        answers = decide(ids, cache, turn)
                    valid += [_is_valid(answer) for answer in answers]
                with _timed(row, "hosted"):
                    hosted.decide(INSTRUCTIONS, turn)
                if number:  # the first round warms up
                    rows.append(row)
                    yield row
    routed = list(run_routing(engine, INSTRUCTIONS, progress)) if routing else []
    yield from routed
    yield summarise(rows, valid, threads, routed)


@contextmanager
def _timed(row: dict[str, Any], name: str) -> Iterator[None]:
    """Wall time and processor time of all threads, in milliseconds."""
    begin, busy = perf_counter(), process_time()
    yield
    row[f"{name}_ms"] = (perf_counter() - begin) * 1e3
    row[f"{name}_cpu_ms"] = (process_time() - busy) * 1e3


def summarise(
    rows: Sequence[Mapping[str, Any]],
    valid: Sequence[bool],
    threads: int | None,
    routed: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The figures of all turns, as one JSON row.

    `ten_ms` and `apart_ms` are median wall times of one pass and of ten, `hosted_ms` of ten
    requests to a service on this machine; `..._cpu_ms` the processor time of all threads, which
    depends less on other work of the machine. `routing_accuracy` and `calibration_error` are those
    of the head, `zero_shot_accuracy` that of the better way without one.
    """
    names = [f"{name}_{unit}" for unit in ("ms", "cpu_ms") for name in ("ten", "apart", "hosted")]
    medians = {name: round(statistics.median(row[name] for row in rows), 1) for name in names}
    return {
        "what": "decisions",
        "questions": len(QUESTIONS),
        "threads": threads,
        **medians,
        "valid": sum(valid) / len(valid),
        **_routing(routed),
        "n": len(rows),
    }


def _routing(routed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    head = next((row for row in routed if row["by"] == "head"), None)
    if head is None:
        return {}
    return {
        "routing_accuracy": head["accuracy"],
        "calibration_error": head["calibration_error"],
        "zero_shot_accuracy": max(row["accuracy"] for row in routed if row is not head),
    }


def _prompt(engine: Engine, words: str) -> list[int]:
    return engine.encode_chat([("system", INSTRUCTIONS), ("user", words)])


def _is_valid(answer: Answer) -> bool:
    """Whether an answer has the type of its question and probabilities that add up to 1."""
    question = next(each for each in QUESTIONS if each.name == answer.name)
    total = sum(answer.probabilities.values())
    match question:
        case YesNo():
            typed = isinstance(answer.value, bool)
        case Score(low=low, high=high):
            typed = isinstance(answer.value, int) and low <= answer.value <= high
        case Extract():
            typed = answer.value is None or isinstance(answer.value, int)
        case _:
            typed = answer.value in question.labels
    return typed and abs(total - 1) < 1e-6 and 0 <= answer.probability <= 1
