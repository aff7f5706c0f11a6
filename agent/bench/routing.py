"""Routing by intents: a head fitted on twenty examples each, beside zero-shot answers.

The examples are a sample of the training part of CLINC150 (Larson et al., 2019, CC BY 3.0): ten
intents and words out of scope, thirty of each, ten of which are kept for the measurement.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any, Final

from agent.bench.figures import Progress
from dllm_core.engine import Engine
from dllm_core.tasks.calibration import calibration_error
from dllm_core.tasks.decide import Decider
from dllm_core.tasks.decision_examples import DecisionExample
from dllm_core.tasks.decision_fit import fit_head, read_examples
from dllm_core.tasks.heads import read_features
from dllm_core.tasks.questions import Choice
from dllm_core.tasks.routing import Router

FILE: Final = Path(__file__).parent / "intents.jsonl"
OUT: Final = "out of scope"
TASKS: Final = {
    "balance": "Tell the balance of a bank account.",
    "bill due": "Tell when a bill is due.",
    "book hotel": "Book a hotel room.",
    "card declined": "Explain why a card was declined.",
    "cancel reservation": "Cancel a reservation.",
    "flight status": "Tell the status of a flight.",
    "order status": "Tell the status of an order or package.",
    "report lost card": "Report a lost or stolen card.",
    "restaurant reservation": "Book a table at a restaurant.",
    "transfer": "Transfer money between accounts.",
}
"""Descriptions of the intents, for the zero-shot router."""

Guess = Callable[[str], tuple[str, float]]
"""Words -> (answer, its probability)."""


@dataclass(frozen=True, slots=True)
class _Kept:
    words: str
    answer: str


def run_routing(engine: Engine, system: str, progress: Progress) -> Iterator[dict[str, Any]]:
    """Measure a fitted head and two zero-shot ways on the examples kept out; yields a row each."""
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    kept = [_Kept(row["text"], row["answer"]) for row in rows if row["part"] == "measure"]
    fitted = [
        DecisionExample(row["text"], "intent", row["answer"])
        for row in rows
        if row["part"] == "fit"
    ]
    for name, make in (("head", _head), ("choice", _choice), ("router", _router)):
        progress(f"routing: {name}")
        begin = process_time()
        guess = make(engine, system, fitted)
        made = process_time() - begin
        yield {"what": "routing", "by": name, "fit_cpu_s": round(made, 2), **_measure(guess, kept)}


def _measure(guess: Guess, kept: Sequence[_Kept]) -> dict[str, Any]:
    begin = process_time()
    found = [guess(each.words) for each in kept]
    ms = 1e3 * (process_time() - begin) / len(kept)
    right = [label == each.answer for (label, _), each in zip(found, kept, strict=True)]
    inside = [good for good, each in zip(right, kept, strict=True) if each.answer != OUT]
    outside = [good for good, each in zip(right, kept, strict=True) if each.answer == OUT]
    return {
        "accuracy": round(sum(right) / len(right), 4),
        "in_scope": round(sum(inside) / len(inside), 4),
        "out_of_scope": round(sum(outside) / len(outside), 4),
        "calibration_error": round(calibration_error([p for _, p in found], right), 4),
        "cpu_ms": round(ms, 1),
        "n": len(kept),
    }


def _head(engine: Engine, system: str, fitted: Sequence[DecisionExample]) -> Guess:
    read = read_examples(engine, fitted, system)
    head, _ = fit_head("intent", read, [example.answer for example in fitted])
    cache = engine.contiguous_cache()

    def guess(words: str) -> tuple[str, float]:
        likely = head.probabilities(
            read_features(engine, [("system", system), ("user", words)], cache)
        )
        best = max(likely, key=likely.__getitem__)
        return best, likely[best]

    return guess


def _choice(engine: Engine, system: str, fitted: Sequence[DecisionExample]) -> Guess:
    asked = Choice(name="intent", text="Intent", options=(*TASKS, OUT))
    decider = Decider(engine, [asked], before=[("system", system)])
    decider.warm_up()
    cache = engine.contiguous_cache()

    def guess(words: str) -> tuple[str, float]:
        ids = engine.encode_chat([("system", system), ("user", words)])
        answer = decider.decide(ids, cache, words)[0]
        return answer.value, answer.probability

    return guess


def _router(engine: Engine, system: str, fitted: Sequence[DecisionExample]) -> Guess:
    router = Router(engine, list(TASKS.values()))

    def guess(words: str) -> tuple[str, float]:
        route = router.route(words)
        return (OUT if route.task is None else list(TASKS)[route.task]), route.probability

    return guess
