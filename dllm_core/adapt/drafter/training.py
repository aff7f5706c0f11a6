"""Training of a drafter on recordings: cross-entropy of what the base said, early tokens most.

A run is a directory: `config.json`, `log.jsonl` and a checkpoint that is replaced every few
minutes, from which the same command goes on. The weights to be used are an average over the run
(Polyak), so that a run that is stopped early has good ones, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dllm_core.adapt.drafter.gradients import Gradients, StepLoss, held_out
from dllm_core.adapt.drafter.measure import Accepted, accepted
from dllm_core.adapt.drafter.options import DraftTraining
from dllm_core.adapt.drafter.shards import Corpus
from dllm_core.adapt.heap import keep_freed_memory
from dllm_core.draft.config import DrafterConfig
from dllm_core.draft.network import DraftNetwork
from dllm_core.errors import DataError
from dllm_core.model.stored_embedding import StoredEmbedding

CONFIG, LOG, CHECKPOINT = "config.json", "log.jsonl", "checkpoint.pt"
_MEASURED = 60
"""Conversations that a measurement takes."""
_SAMPLED = 40
"""Every so many rows of a conversation's features go into mean and deviation."""
_LEAST_DEVIATION = 1e-3
_AVERAGED = 4
"""Every so many steps the weights go into their average."""


@dataclass(frozen=True, slots=True)
class Report:
    """A measurement on the way."""

    step: int
    steps: int
    seconds: float
    """Of training, all pieces together."""
    loss: float
    tokens_a_pass: float
    first: float
    """Share of first drafted tokens that are right."""
    left: float
    """Seconds, at the pace of this piece."""

    def describe(self) -> str:
        return (
            f"step {self.step} of {self.steps}, {self.seconds:.0f} s: loss {self.loss:.3f}, "
            f"{self.tokens_a_pass:.2f} tokens a pass, first token right {self.first:.1%}; "
            f"{self.left / 60:.0f} min left"
        )


Listener = Callable[[Report], None]


def draft_vocabulary(corpus: Corpus, vocab_size: int, words: int) -> Tensor:
    """The most frequent tokens of all replies, most frequent first."""
    counts = np.zeros(vocab_size, np.int64)
    for ids, replies in zip(corpus.ids, corpus.replies, strict=True):
        for start, stop in replies:
            np.add.at(counts, ids[start:stop], 1)
    order = np.argsort(-counts, kind="stable")[:words]
    return torch.from_numpy(order.copy())


def statistics(corpus: Corpus) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every feature."""
    rows = [np.asarray(corpus.features(i)[::_SAMPLED], np.float32) for i in range(len(corpus))]
    sample = torch.from_numpy(np.concatenate(rows))
    deviation, mean = torch.std_mean(sample, 0)
    return mean, deviation + _LEAST_DEVIATION


class DraftTrainer:
    """Trains `network` on a corpus, in pieces as long as one likes."""

    def __init__(
        self, network: DraftNetwork, corpus: Corpus, options: DraftTraining, out: Path
    ) -> None:
        self.network, self.corpus, self.options, self._out = network, corpus, options, out
        self.step, self._before = 0, 0.0
        self._smooth = float("nan")
        self._average = [p.detach().clone() for p in network.parameters()]
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=options.rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )
        self._gradients = Gradients(network, StepLoss(network, corpus, options))

    def _rate(self) -> float:
        options, share = self.options, self.step / self.options.steps
        falling = (1 - share) / (1 - options.flat) if share > options.flat else 1.0
        return options.rate * min(1.0, (self.step + 1) / options.warm_up) * max(0.0, falling)

    def run(self, listen: Listener = lambda report: None) -> bool:
        """Train until all steps are done or the time is up; returns whether all are done.

        Raises:
            TooLargeError: the second process was ended.
        """
        keep_freed_memory()
        if self.options.processes < 2:
            return self._run(listen)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with self._gradients.beside(self.corpus.directory, self.options):
                return self._run(listen)
        finally:
            torch.set_num_threads(threads)

    def _run(self, listen: Listener) -> bool:
        if self.step >= self.options.steps:
            return True
        begin = last = monotonic()
        first = self.step
        while self.step < self.options.steps:
            now = monotonic()
            late = self.options.seconds is not None and now - begin > self.options.seconds
            if late or now - last > self.options.every_seconds:
                listen(self._pause(now - begin, first))
                last = monotonic()
            if late:
                return False
            self._advance()
        listen(self._pause(monotonic() - begin, first))
        return True

    def _pause(self, seconds: float, first: int) -> Report:
        """Measure, note and keep what there is."""
        with self.averaged():
            found = self.measure()
        pace = seconds / max(1, self.step - first)
        report = Report(
            self.step, self.options.steps, self._before + seconds, self._smooth,
            found.tokens_a_pass, found.right[0], pace * (self.options.steps - self.step),
        )  # fmt: skip
        row = {
            "step": report.step,
            "seconds": round(report.seconds, 1),
            "blocks": report.step * self.options.batch * self.options.blocks,
            "conversations": len(self.corpus),
            "precision": self.options.precision,
            "loss": round(report.loss, 4),
            "tokens_a_pass": round(report.tokens_a_pass, 4),
            "right": [round(share, 4) for share in found.right],
        }
        with (self._out / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        self.save(report.seconds)
        return report

    def measure(self) -> Accepted:
        """Chains of a whole block on conversations that are kept out."""
        return accepted(self.network, self.corpus, held_out(self.corpus)[-_MEASURED:])

    def _advance(self) -> None:
        options = self.options
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        loss = self._gradients.step(self.step)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), options.clip)
        self._optimizer.step()
        self.step += 1
        self._smooth = loss if np.isnan(self._smooth) else 0.98 * self._smooth + 0.02 * loss
        if self.step % _AVERAGED == 0:
            keep = min(options.average, (1 + self.step) / (10 + self.step)) ** _AVERAGED
            with torch.no_grad():
                now = [p.detach() for p in self.network.parameters()]
                torch._foreach_lerp_(self._average, now, 1 - keep)

    def averaged(self) -> _Swapped:
        """A context in which the network has the average of its weights."""
        return _Swapped(self.network, self._average)

    # Checkpoints

    def save(self, seconds: float) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "seconds": seconds,
            "loss": self._smooth,
        }
        partial = self._out / f"{CHECKPOINT}.partial"
        torch.save(state, partial)
        os.replace(partial, self._out / CHECKPOINT)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one.

        Raises:
            DataError: it cannot be read.
        """
        path = self._out / CHECKPOINT
        if not path.exists():
            return False
        state = read_checkpoint(path)
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        for mine, kept in zip(self._average, state["average"], strict=True):
            mine.copy_(kept)
        self.step, self._before, self._smooth = state["step"], state["seconds"], state["loss"]
        return True


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises DataError where it is damaged."""
    try:
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        raise DataError(f"{path} cannot be read ({error}): delete it to begin anew.") from error
    return found


class _Swapped:
    """Exchanges the weights of a network for others and back."""

    def __init__(self, network: DraftNetwork, others: list[Tensor]) -> None:
        self._network, self._others = network, others

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *error: object) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for mine, other in zip(self._network.parameters(), self._others, strict=True):
            kept = mine.detach().clone()
            mine.copy_(other)
            other.copy_(kept)


def new_network(
    config: DrafterConfig, embedding: Tensor | StoredEmbedding, corpus: Corpus, seed: int
) -> DraftNetwork:
    """A network to begin with: its vocabulary and the whitening are those of the corpus."""
    vocabulary = draft_vocabulary(corpus, config.vocab_size, config.words)
    network = DraftNetwork(config, embedding, vocabulary)
    network.start(seed)
    mean, deviation = statistics(corpus)
    network.mean.copy_(mean)
    network.deviation.copy_(deviation)
    return network
