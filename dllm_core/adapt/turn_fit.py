"""Fitting of the head for ends of turns: multinomial logistic regression, and how good it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dllm_core.adapt.turn_rows import TurnStates, read_turn_examples, turn_states
from dllm_core.engine import Engine
from dllm_core.model.turn_head import CLASSES, TurnHead, fingerprint

_ITERATIONS = 200
_BINS = 5
RARITY = 0.75
"""Power of a class's rarity that its examples weigh: those of words to others are few."""
MOST_WEIGHT = 6.0
WHOLE, MORE = CLASSES.index("whole"), CLASSES.index("more")


@dataclass(frozen=True, slots=True)
class TurnQuality:
    """How good a head is on examples that were kept out of its fit.

    Attributes:
        auc: area under the ROC curve of P(whole), whole turns against cut ones.
        recall: share of each class that is found, by its name.
        reliability: (mean P(whole), share that is whole, examples) of bins of whole and cut ones.
    """

    auc: float
    recall: dict[str, float]
    reliability: tuple[tuple[float, float, int], ...]

    def describe(self) -> str:
        """The same in lines for people."""
        found = ", ".join(f"{name} {share:.0%}" for name, share in self.recall.items())
        bins = "\n".join(
            f"  P(whole) {mean:.2f}: {share:.0%} of {count} are whole"
            for mean, share, count in self.reliability
        )
        return f"held out: AUC {self.auc:.3f}; found of each kind: {found}\n{bins}"


def fit_turn_head(states: TurnStates, model: str, penalty: float = 0.1) -> TurnHead:
    """Fit on the examples that are not kept out.

    The weights are found on normalised features and then bear the normalisation themselves.

    Args:
        model: the `fingerprint` of the model that made the states.
        penalty: factor of the squared weights.
    """
    fitted = ~states.kept_out
    inputs, kinds = states.states[fitted], states.kinds[fitted]
    mean, scale = inputs.mean(0), inputs.std(0).clamp_min(1e-6)
    features = (inputs - mean) / scale
    # Rare classes count more than their number, common ones less.
    counts = torch.bincount(kinds, states.weights[fitted], minlength=len(CLASSES)).clamp_min(1)
    of_class = (counts.max() / counts).pow(RARITY).clamp_max(MOST_WEIGHT).float()
    weights = states.weights[fitted] * of_class[kinds]
    weights = weights / weights.sum()
    weight = torch.zeros(len(CLASSES), inputs.shape[1], requires_grad=True)
    bias = torch.zeros(len(CLASSES), requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        each = F.cross_entropy(features @ weight.T + bias, kinds, reduction="none")
        found = (weights * each).sum() + penalty * weight.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    search.step(loss)  # type: ignore[no-untyped-call]
    folded = weight.detach() / scale
    return TurnHead(folded, bias.detach() - folded @ mean, model)


def measure_turn_head(head: TurnHead, states: TurnStates) -> TurnQuality:
    """Measure a head on the examples that were kept out of its fit."""
    inputs, kinds = states.states[states.kept_out], states.kinds[states.kept_out]
    found = torch.softmax(inputs @ head.weight.T + head.bias, 1)
    best = found.argmax(1)
    recall = {
        name: float((best[kinds == number] == number).float().mean())
        for number, name in enumerate(CLASSES)
        if bool((kinds == number).any())
    }
    ends = (kinds == WHOLE) | (kinds == MORE)
    whole, truth = found[ends, WHOLE], kinds[ends] == WHOLE
    weights = states.weights[states.kept_out][ends]
    return TurnQuality(auc(whole, truth), recall, tuple(reliability(whole, truth, weights)))


def auc(scores: Tensor, truth: Tensor) -> float:
    """Area under the ROC curve: the chance that a true example scores above a false one."""
    order = scores.argsort().argsort().float() + 1
    true, false = int(truth.sum()), int((~truth).sum())
    if not true or not false:
        return 0.5
    return float((order[truth].sum() - true * (true + 1) / 2) / (true * false))


def reliability(
    scores: Tensor, truth: Tensor, weights: Tensor | None = None
) -> list[tuple[float, float, int]]:
    """Mean probability and share of true examples, in bins of equal width; weighted, if asked."""
    weights = torch.ones_like(scores) if weights is None else weights
    rows = []
    for number in range(_BINS):
        low, high = number / _BINS, (number + 1) / _BINS
        chosen = (scores >= low) & ((scores < high) | (number == _BINS - 1))
        if bool(chosen.any()):
            parts = weights[chosen] / weights[chosen].sum()
            mean = float((parts * scores[chosen]).sum())
            share = float((parts * truth[chosen]).sum())
            rows.append((round(mean, 3), round(share, 3), int(chosen.sum())))
    return rows


def make_turn_head(
    source: str,
    data: Sequence[Path],
    out: Path,
    system: str,
    *,
    limit: int | None = None,
    seed: int = 0,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> TurnQuality:
    """Fit a head for a model on utterances and write it to ``out``.

    Args:
        source: the model, as `Engine.load` takes it.
        data: JSON lines with `text` or `prompt`, and perhaps `kind` and `asked`.
        system: the agent's instructions.
        limit: utterances without a kind that are taken of each file.
        tell: told the utterances read and all.

    Raises:
        DataError: there is nothing to learn from, or the model does not read causally.
    """
    examples = read_turn_examples(data, limit, seed)
    engine = Engine.load(source)
    states = turn_states(engine, examples, system, tell)
    head = fit_turn_head(states, fingerprint(engine.model))
    out.parent.mkdir(parents=True, exist_ok=True)
    head.save(out)
    return measure_turn_head(head, states)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()
