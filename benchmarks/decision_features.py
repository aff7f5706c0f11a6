"""Which cached activations tell intents apart: keys or values, which layers, over which tokens.

    python benchmarks/decision_features.py MODEL.gguf data_full.json

`data_full.json` is CLINC150's (github.com/clinc/oos-eval, CC BY 3.0); its test part is not read.
Prints a JSON row for each kind of features: accuracy on the validation part after a fit on twenty
examples of ten intents and out of scope, mean of four draws of the intents.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dllm_core.engine import Engine
from dllm_core.tasks.heads import word_span

SYSTEM = "You are a helpful voice assistant. Answer in one or two short sentences."
INTENTS, DRAWN, DRAWS, OUT = 30, 10, 4, "oos"
PLACES = ("words", "last word", "behind the words")


@dataclass
class Rows:
    """Activations (rows, layers, keys or values, places, features) with labels and parts."""

    found: Tensor
    labels: list[str]
    fitted: Tensor
    intents: list[str]


def examples(path: Path) -> tuple[list[tuple[str, str, bool]], list[str]]:
    """(words, intent, whether it is fitted on) of thirty intents and out of scope."""
    data, draw = json.loads(path.read_text(encoding="utf-8")), random.Random(7)
    intents = sorted({label for _, label in data["train"]})
    draw.shuffle(intents)
    rows = []
    for label in [*intents[:INTENTS], OUT]:
        names = ("oos_train", "oos_val") if label == OUT else ("train", "val")
        train, kept = ([text for text, each in data[n] if each == label] for n in names)
        draw.shuffle(train)
        rows += [(text, label, True) for text in train[:20]]
        rows += [(text, label, False) for text in kept[: 60 if label == OUT else 20]]
    return rows, intents[:INTENTS]


def read(engine: Engine, path: Path) -> Rows:
    """Read every example behind the instructions."""
    (rows, intents), cache, found = examples(path), engine.contiguous_cache(), []
    for text, _, _ in rows:
        ids, begin, end = word_span(engine, [("system", SYSTEM), ("user", text)])
        engine.host.prefill(ids, cache)
        held = torch.stack([torch.stack(layer) for layer in cache.store.layers]).float()
        spans = ((begin, end), (end - 1, end), (end, len(ids) - 1))
        parts = [held[:, :, :, first:last] for first, last in spans]
        found.append(torch.stack([part.mean(3).flatten(2) for part in parts], 2))
    fitted = torch.tensor([part for _, _, part in rows])
    return Rows(torch.stack(found), [label for _, label, _ in rows], fitted, intents)


def accuracy(rows: Rows, chosen: Callable[[Tensor], Tensor]) -> float:
    """Mean accuracy over the draws, of features that `chosen` takes of the activations."""
    draw, found = random.Random(1), []
    for _ in range(DRAWS):
        names = [*draw.sample(rows.intents, DRAWN), OUT]
        index = torch.tensor([i for i, label in enumerate(rows.labels) if label in names])
        kinds = torch.tensor([names.index(rows.labels[i]) for i in index])
        inputs, fitted = chosen(rows.found[index]).flatten(1), rows.fitted[index]
        mean, scale = inputs[fitted].mean(0), inputs[fitted].std(0).clamp_min(1e-6)
        inputs = (inputs - mean) / scale / inputs.shape[1] ** 0.5 * 10
        weight, bias = fit(inputs[fitted], kinds[fitted], len(names))
        right = (inputs @ weight.T + bias).argmax(1) == kinds
        found.append(float(right[~fitted].float().mean()))
    return sum(found) / len(found)


def fit(inputs: Tensor, kinds: Tensor, labels: int) -> tuple[Tensor, Tensor]:
    """Logistic regression with a fixed penalty."""
    weight = torch.zeros(labels, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(labels, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, kinds)
        value = value + 0.003 * weight.square().sum()
        value.backward()
        return value

    search.step(loss)
    return weight.detach(), bias.detach()


def kinds(layers: Sequence[int]) -> dict[str, Callable[[Tensor], Tensor]]:
    """The features of some layers, by their name."""
    index = list(layers)
    return {
        "keys, words": lambda x: x[:, index, 0, 0],
        "values, words": lambda x: x[:, index, 1, 0],
        "keys and values, words": lambda x: x[:, index, :, 0],
        "values, last word": lambda x: x[:, index, 1, 1],
        "values, behind the words": lambda x: x[:, index, 1, 2],
        "values, words and behind": lambda x: x[:, index, 1][:, :, [0, 2]],
    }


def main() -> None:
    """Print a row for each choice of layers and features."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    engine = Engine.load(given.model)
    rows, depth = read(engine, given.data), engine.config.num_layers
    singles = [[layer] for layer in (2, 6, 10, 14, 22, 29) if layer < depth]
    for layers in (*singles, [6, 10], [6, 10, 14], [2, 6, 10, 22], [6, 10, 22, 29]):
        for name, chosen in kinds(layers).items():
            row = {"layers": layers, "features": name, "accuracy": accuracy(rows, chosen)}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
