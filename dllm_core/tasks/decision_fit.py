"""Fitting of heads for decisions: logistic regression, cross-validated and calibrated."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dllm_core.engine import Engine
from dllm_core.tasks.calibration import calibration_error
from dllm_core.tasks.decision_examples import DecisionExample, read_decision_examples
from dllm_core.tasks.heads import Head, read_features, save_heads

FOLDS = 5
PENALTIES = (0.02, 0.1, 0.5)
"""Factors of the squared weights that cross-validation chooses from."""
_ITERATIONS = 60
_WIDTH = 10.0
"""Norm of normalised features, which keeps the penalty apart from their number."""
_TEMPERATURES = [2 ** (i / 4) for i in range(-12, 13)]


@dataclass(frozen=True, slots=True)
class HeadQuality:
    """How good a head is on the folds that were kept out of its fit.

    Attributes:
        question: name of the question.
        examples, answers: their numbers.
        accuracy: share of right answers.
        calibration_error: expected calibration error, after calibration.
        penalty: the penalty that was chosen.
        recall: share of the examples of each answer that are found.
    """

    question: str
    examples: int
    answers: int
    accuracy: float
    calibration_error: float
    penalty: float
    recall: dict[str, float]

    def describe(self) -> str:
        """The same in a line for people."""
        weakest = min(self.recall, key=self.recall.__getitem__)
        return (
            f"{self.question}: {self.accuracy:.1%} right of {self.examples} examples of "
            f"{self.answers} answers, kept out in {FOLDS} folds; calibration error "
            f"{self.calibration_error:.3f}; weakest answer: {weakest} ({self.recall[weakest]:.0%})"
        )


_EXCHANGE = (("user", "Hello?"), ("assistant", "Hello, you are through. What can I do for you?"))
"""An exchange before the words, as in the middle of a call."""


def readings(example: DecisionExample, system: str) -> list[list[tuple[str, str]]]:
    """The conversations that an example is read in.

    Once the words come first and as they are given, once after an exchange and without capitals
    and marks, as callers type them.
    """
    bare = "".join(c for c in example.words.lower() if c.isalnum() or c in " '").strip()
    first, words = ("system", system), ("user", bare or example.words)
    if example.asked:
        asked = ("assistant", example.asked)
        return [[first, asked, ("user", example.words)], [first, asked, words]]
    return [[first, ("user", example.words)], [first, *_EXCHANGE, words]]


def read_examples(
    engine: Engine,
    examples: Sequence[DecisionExample],
    system: str,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Tensor]:
    """Features (readings, features) of each example, behind the instructions.

    Equal words of several questions are read once.

    Raises:
        DataError: the model has no chat template.
    """
    known: dict[tuple[str, str], list[Tensor]] = {}
    caches = [engine.contiguous_cache(), engine.contiguous_cache()]
    for number, example in enumerate(examples):
        key = (example.asked, example.words)
        if key not in known:
            read = zip(readings(example, system), caches, strict=True)
            known[key] = [read_features(engine, messages, cache) for messages, cache in read]
        tell(number + 1, len(examples))
    return [torch.stack(known[example.asked, example.words]) for example in examples]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Features (rows, features), labels (rows,) and the fold of each row."""

    features: Tensor
    labels: Tensor
    folds: Tensor


def fit_head(
    question: str, features: Sequence[Tensor], answers: Sequence[str], seed: int = 0
) -> tuple[Head, HeadQuality]:
    """Fit one head; the penalty and the temperature are those that suit the kept-out folds best.

    Args:
        question: name of the question.
        features: (readings, features) of each example.
        answers: the right answer of each example.
    """
    labels = tuple(dict.fromkeys(answers))
    folds = _folds(answers, seed)
    rows = _Rows(
        torch.cat(list(features)),
        torch.tensor([labels.index(a) for a, f in zip(answers, features, strict=True) for _ in f]),
        torch.tensor([k for k, f in zip(folds, features, strict=True) for _ in f]),
    )
    tried = {penalty: _kept_out(rows, len(labels), penalty) for penalty in PENALTIES}
    losses = {p: F.cross_entropy(_cooled(s, rows)[0], rows.labels) for p, s in tried.items()}
    penalty = min(losses, key=lambda each: float(losses[each]))
    scores, temperature = _cooled(tried[penalty], rows)
    weight, bias = _regression(rows.features, rows.labels, len(labels), penalty)
    head = Head(labels, weight / temperature, bias / temperature)
    return head, _quality(question, labels, scores, rows, len(answers), penalty)


def _folds(answers: Sequence[str], seed: int) -> list[int]:
    """A fold for each example, every answer spread evenly."""
    generator, places = random.Random(seed), defaultdict(list)
    for place, answer in enumerate(answers):
        places[answer].append(place)
    folds = [0] * len(answers)
    for of_answer in places.values():
        generator.shuffle(of_answer)
        for i, place in enumerate(of_answer):
            folds[place] = i % FOLDS
    return folds


def _kept_out(rows: _Rows, labels: int, penalty: float) -> Tensor:
    """Logits (rows, labels) of every row by a fit without its fold."""
    scores = torch.zeros(len(rows.labels), labels)
    for fold in range(FOLDS):
        out = rows.folds == fold
        weight, bias = _regression(rows.features[~out], rows.labels[~out], labels, penalty)
        scores[out] = rows.features[out] @ weight.T + bias
    return scores


def _cooled(scores: Tensor, rows: _Rows) -> tuple[Tensor, float]:
    """Logits divided by the temperature that suits the labels best, and that temperature."""
    fits = {t: float(F.cross_entropy(scores / t, rows.labels)) for t in _TEMPERATURES}
    best = min(fits, key=fits.__getitem__)
    return scores / best, best


def _regression(
    inputs: Tensor, kinds: Tensor, labels: int, penalty: float
) -> tuple[Tensor, Tensor]:
    """Weights that bear the normalisation of the features themselves."""
    mean, scale = inputs.mean(0), inputs.std(0).clamp_min(1e-6)
    scale = scale * inputs.shape[1] ** 0.5 / _WIDTH
    normed = (inputs - mean) / scale
    counts = torch.bincount(kinds, minlength=labels).clamp_min(1).float()
    shares = (counts.max() / counts).sqrt().clamp_max(4.0)
    weight = torch.zeros(labels, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(labels, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        found = F.cross_entropy(normed @ weight.T + bias, kinds, shares)
        found = found + penalty / 100 * weight.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    with torch.inference_mode(False), torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    folded = weight.detach() / scale
    return folded, bias.detach() - folded @ mean


def _quality(
    question: str,
    labels: tuple[str, ...],
    scores: Tensor,
    rows: _Rows,
    examples: int,
    penalty: float,
) -> HeadQuality:
    likely = scores.softmax(-1)
    sure, best = likely.max(-1)
    right = best == rows.labels
    recall = {
        label: round(float(right[rows.labels == i].float().mean()), 4)
        for i, label in enumerate(labels)
    }
    return HeadQuality(
        question,
        examples,
        len(labels),
        round(float(right.float().mean()), 4),
        round(calibration_error(sure.tolist(), right.tolist()), 4),
        penalty,
        recall,
    )


def make_heads(
    source: str,
    data: Sequence[Path],
    out: Path,
    system: str,
    *,
    seed: int = 0,
    threads: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Fit a head for every question of the examples and write them to ``out``.

    Args:
        source: the model, as `Engine.load` takes it.
        data: files of examples; see `read_decision_examples`.
        system: the agent's instructions.
        seed: seed of the folds.
        tell: told the examples read and all.

    Returns:
        A row for each question, the fields of `HeadQuality` and its `text`.

    Raises:
        DataError: the examples cannot be learnt from.
        DllmError: the model cannot be loaded or read the examples.
    """
    examples = read_decision_examples(data)
    engine = Engine.load(source, threads=threads)
    read = read_examples(engine, examples, system, tell)
    heads, qualities = dict[str, Head](), list[HeadQuality]()
    for question in dict.fromkeys(example.question for example in examples):
        chosen = [i for i, example in enumerate(examples) if example.question == question]
        heads[question], quality = fit_head(
            question, [read[i] for i in chosen], [examples[i].answer for i in chosen], seed
        )
        qualities.append(quality)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_heads(out, heads, engine.model)
    return [{**asdict(quality), "text": quality.describe()} for quality in qualities]
