"""The loss of a training step in two parts, one of which another process may work out.

A draft's matrices are too small for two threads to share each product. So each core takes half of
a step's conversations instead: the second process has the same weights, in shared memory, and
leaves its gradients there. With one process both halves come one after the other; the sum of two
numbers has no order, so that the weights are the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, multiprocessing

from dllm_core.adapt.drafter.batches import Batch, batch_of
from dllm_core.adapt.drafter.options import DraftTraining
from dllm_core.adapt.drafter.shards import Corpus
from dllm_core.adapt.heap import keep_freed_memory
from dllm_core.draft.network import DraftNetwork
from dllm_core.errors import DataError, TooLargeError

PARTS = 2
_HELD = 64
"""Every so many conversations one is kept for measuring."""
_IGNORED = -100
"""The word of a row that does not count."""
_PATIENCE = 10.0
"""Seconds in which a process is to end when it is told to."""


def held_out(corpus: Corpus) -> list[int]:
    """Conversations that are not trained on."""
    return [i for i in range(len(corpus)) if i % _HELD == _HELD - 1]


class StepLoss:
    """Draws the parts of a step, the same for the same step, and works out their losses.

    Raises:
        DataError: there are too few conversations.
    """

    def __init__(self, network: DraftNetwork, corpus: Corpus, options: DraftTraining) -> None:
        self._network, self._corpus, self._options = network, corpus, options
        depth = torch.arange(network.config.block, dtype=torch.float32)
        self._weights = torch.exp(-depth / network.config.depth_decay)
        self._chunks = _of_like_length(corpus, max(1, options.batch // PARTS))

    def batch(self, step: int, part: int) -> Batch:
        """The conversations and blocks of a part."""
        options, seed = self._options, (self._options.seed, step, part)
        chunk = self._chunks[int(np.random.default_rng(seed).integers(len(self._chunks)))]
        return batch_of(self._corpus, chunk, options.blocks, self._network.config.block, (*seed, 1))

    def of(self, batch: Batch) -> Tensor:
        """Weighted cross-entropy; words that cannot be drafted are nobody's fault."""
        network = self._network
        places = torch.arange(batch.features.shape[1])
        words = network.places[batch.targets.clamp_min(0)]
        counts = (batch.targets >= 0) & (words < network.config.words)
        short = self._options.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            context = network.context(batch.features, places)
            hidden = network(context, batch.tokens, batch.positions)
            # Every row, though not all count: products of ever new sizes are slow to set up.
            scores = network.logits(hidden, batch.previous).flatten(0, -2).float()
        each = F.cross_entropy(scores, words.where(counts, _IGNORED).flatten(), reduction="none")
        weights = self._weights.where(counts, 0.0)
        return (each * weights.flatten()).sum() / weights.sum()

    def backward(self, step: int, part: int) -> float:
        """Add the gradient of a part to those of the weights; returns its loss."""
        loss = self.of(self.batch(step, part))
        (loss / PARTS).backward()  # type: ignore[no-untyped-call]
        return loss.item()


def _of_like_length(corpus: Corpus, size: int) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Conversations by length, in chunks that share a batch."""
    held = set(held_out(corpus))
    kept = [i for i in range(len(corpus)) if i not in held]
    if len(kept) < size:
        raise DataError(f"{len(kept)} conversations are too few to train on: make at least {size}.")
    order = sorted(kept, key=lambda i: len(corpus.ids[i]))
    return [np.array(order[i : i + size]) for i in range(0, len(order), size)]


class Gradients:
    """Works out the gradients of steps, with a process beside this one or without."""

    def __init__(self, network: DraftNetwork, losses: StepLoss) -> None:
        self._network, self._losses = network, losses
        self._other: Connection | None = None
        self._shared: list[Tensor] = []

    def step(self, step: int) -> float:
        """Leave the gradient of a step in the weights; returns its mean loss.

        Raises:
            TooLargeError: the other process has ended.
        """
        for parameter in self._network.parameters():
            parameter.grad = None
        if self._other is None:
            return sum(self._losses.backward(step, part) for part in range(PARTS)) / PARTS
        try:
            self._other.send(step)
            loss = self._losses.backward(step, 0) + self._other.recv()
        except (EOFError, OSError) as error:
            raise TooLargeError(
                "The second process of the training has ended, perhaps for want of memory: run "
                "the same command again, or with --threads 1."
            ) from error
        with torch.no_grad():
            mine = [p.grad for p in self._network.parameters() if p.grad is not None]
            torch._foreach_add_(mine, self._shared)
        return float(loss / PARTS)

    @contextmanager
    def beside(self, directory: Path, options: DraftTraining) -> Iterator[None]:
        """Run a second process for the second part of all steps within this context."""
        context = multiprocessing.get_context("spawn")
        self._network.share_memory()
        self._shared = [torch.zeros_like(p) for p in self._network.parameters()]
        for gradient in self._shared:
            gradient.share_memory_()  # type: ignore[no-untyped-call]
        self._other, theirs = context.Pipe()
        process = context.Process(
            target=_work,
            args=(theirs, self._network, directory, options, self._shared),
            daemon=True,
        )
        process.start()
        theirs.close()
        try:
            yield
        finally:
            with suppress(OSError):
                self._other.send(None)
            process.join(_PATIENCE)
            process.kill()
            self._other, self._shared = None, []


def _work(
    connection: Connection,
    network: DraftNetwork,
    directory: Path,
    options: DraftTraining,
    shared: Sequence[Tensor],
) -> None:
    """The second process: gradients of the second part of every step that it is told."""
    torch.set_num_threads(1)
    keep_freed_memory()
    losses = StepLoss(network, Corpus(directory), options)
    for parameter, gradient in zip(network.parameters(), shared, strict=True):
        parameter.grad = gradient
    with suppress(EOFError, KeyboardInterrupt):
        while (step := connection.recv()) is not None:
            for gradient in shared:
                gradient.zero_()
            connection.send(losses.backward(step, 1))
