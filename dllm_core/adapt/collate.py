"""Batches for masked-diffusion training: hidden positions, targets and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_core.adapt.examples import Example
from dllm_core.config import ModelConfig
from dllm_core.errors import OptionError
from dllm_core.model.transformer import visibility


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """B sequences padded to one length T, with Q predictions to be learnt.

    Prompts are never hidden. A prediction is a row of the flattened (B * T) whose logits predict a
    hidden token: the position itself or, where logits are shifted, the one before it.

    Attributes:
        ids: int64 (B, T), the mask token at hidden positions.
        visible: bool (B, T, T), the columns that each row attends to.
        canvas: bool (B, T), rows that run with the canvas rather than the prompt.
        rows: int64 (Q,), the predicting rows of the flattened ids.
        targets: int64 (Q,), the hidden tokens.
        weights: float32 (Q,); the loss is the sum of weight times cross-entropy.
        words: bool (Q,), False where the target is padding after the end of the reply.
    """

    ids: Tensor
    visible: Tensor
    canvas: Tensor
    rows: Tensor
    targets: Tensor
    weights: Tensor
    words: Tensor

    def to(self, device: torch.device) -> TrainingBatch:
        """Copy of the batch on another device."""
        moved = (t.to(device, non_blocking=True) for t in self.tensors())
        return TrainingBatch(*moved)

    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in the order of the fields."""
        return (
            self.ids, self.visible, self.canvas, self.rows, self.targets, self.weights, self.words
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateOptions:
    """Options of hiding positions of examples.

    Attributes:
        canvas_lengths: lengths in positions, of which each batch draws one; a model trained on
            blocks uses the length of its blocks.
        least: smallest share of hidden positions; t is uniform between it and 1.
        max_weight: bound on the weight 1 / t, so that single almost finished canvases do not
            dominate the gradient.
        padding_weight: weight of end-of-reply tokens after the first; a large one teaches empty
            replies.
        complementary: take each canvas twice, with opposite positions hidden (Fast-dLLM v2, arXiv
            2509.26328).
        commit: learn to commit this many positions per step in the recorded order, instead of
            denoising.

    Raises:
        OptionError: a value is out of bounds.
    """

    canvas_lengths: tuple[int, ...] = (32,)
    least: float = 0.02
    max_weight: float = 10.0
    padding_weight: float = 0.05
    complementary: bool = True
    commit: int | None = None

    def __post_init__(self) -> None:
        if not self.canvas_lengths or min(self.canvas_lengths) < 1:
            raise OptionError(f"Canvases have a positive length, not {self.canvas_lengths}.")
        if not 0 < self.least < 1:
            raise OptionError(f"The least share of hidden positions lies in (0, 1): {self.least}.")
        if self.commit is not None and self.commit < 1:
            raise OptionError(f"At least one position is committed a step, not {self.commit}.")


@dataclass(frozen=True, slots=True)
class _Canvas:
    """One canvas of one example with its hidden positions."""

    before: tuple[int, ...]
    ids: Tensor
    hidden: Tensor
    weights: Tensor
    words: Tensor


class Collator:
    """Makes batches of examples; all random numbers come from the generator given to a call."""

    def __init__(self, config: ModelConfig, options: CollateOptions, end: int) -> None:
        """Make a collator.

        Args:
            end: id of the token that closes a reply; behind it the canvas is padded with the first
                of `eos_ids`.

        Raises:
            OptionError: the model has no mask token.
        """
        if config.mask_id is None:
            raise OptionError("A model without a mask token cannot learn to denoise.")
        self.config, self.options, self.end = config, options, end
        self.mask_id = config.mask_id

    def __call__(self, examples: Sequence[Example], generator: torch.Generator) -> TrainingBatch:
        """Hide positions of one canvas of each example.

        Raises:
            OptionError: a recorded reply does not fit the canvas length.
        """
        lengths = self.options.canvas_lengths
        length = lengths[int(torch.randint(len(lengths), (), generator=generator))]
        canvases = [c for e in examples for c in self._canvases(e, length, generator)]
        return self._padded(canvases)

    def _canvases(self, example: Example, length: int, generator: torch.Generator) -> list[_Canvas]:
        start, stop = self._range(example, length, generator)
        ids = torch.tensor([*example.reply[start:stop]], dtype=torch.long)
        padding = torch.full((stop - start - len(ids),), self.config.eos_ids[0])
        words = torch.arange(stop - start) < len(ids)
        ids = torch.cat([ids, padding])
        before = (*example.prompt, *example.reply[:start])
        if self.options.commit is not None:
            return [self._trajectory(example, before, ids, words, generator)]
        return self._noised(before, ids, words, generator)

    def _range(self, example: Example, length: int, generator: torch.Generator) -> tuple[int, int]:
        """First and last position of a canvas in the reply; positions before it are not hidden."""
        block, prompt = self.config.block_length, len(example.prompt)
        if self.config.attention == "block_causal" and block > 1:
            # Blocks lie at multiples of their length: the end of the prompt shares the first.
            edges = range((prompt // block + 1) * block - prompt, len(example.reply), block)
            starts, length = [0, *edges], block
        else:
            starts = list(range(0, len(example.reply), length))
        if self.options.commit is not None:
            starts = starts[:1]
        start = starts[int(torch.randint(len(starts), (), generator=generator))]
        first = length - (prompt + start) % length if length == block else length
        return start, start + first

    def _noised(
        self, before: tuple[int, ...], ids: Tensor, words: Tensor, generator: torch.Generator
    ) -> list[_Canvas]:
        """Hide positions independently with probability t; their weight is 1 / t.

        LLaDA, arXiv 2502.09992; MDLM, arXiv 2406.07524.
        """
        options = self.options
        share = options.least + (1 - options.least) * float(torch.rand((), generator=generator))
        chance = torch.rand(len(ids), generator=generator)
        hidden = chance <= max(share, float(chance.min()))  # one at least
        value = torch.where(words, 1.0, options.padding_weight)
        value = value / value.sum()
        pairs = [(hidden, share)]
        if options.complementary:
            pairs.append((~hidden, 1 - share))
        bound = 1 / options.max_weight
        return [
            _Canvas(before, ids, chosen, value / max(t, bound), words)
            for chosen, t in pairs
            if bool(chosen.any())
        ]

    def _trajectory(
        self,
        example: Example,
        before: tuple[int, ...],
        ids: Tensor,
        words: Tensor,
        generator: torch.Generator,
    ) -> _Canvas:
        """Canvas at a random step of the model's own decoding; the targets are the next positions.

        After dParallel (arXiv 2509.26488) and d3LLM (arXiv 2601.07568).
        """
        commit = self.options.commit
        assert commit is not None
        if len(example.order) != len(ids):
            raise OptionError(
                f"A recorded reply of {len(example.order)} positions does not fit a canvas of "
                f"{len(ids)}: record and train with the same canvas length."
            )
        order = torch.tensor(example.order)
        states = -(-len(ids) // commit)
        done = commit * int(torch.randint(states, (), generator=generator))
        asked = (order >= done) & (order < done + commit)
        # In a recorded canvas the padding is spelt out.
        ended = (ids == self.end) | torch.isin(ids, torch.tensor(self.config.eos_ids))
        words = ended.long().cumsum(0) - ended.long() < 1
        value = torch.where(words, 1.0, self.options.padding_weight) * asked
        return _Canvas(before, ids, order >= done, value / value.sum(), words)

    def _padded(self, canvases: Sequence[_Canvas]) -> TrainingBatch:
        width = max(len(c.before) + len(c.ids) for c in canvases)
        count, shift = len(canvases), int(self.config.shift)
        ids = torch.full((count, width), self.config.eos_ids[0])
        # A row of padding attends to itself, so that its softmax is not empty.
        visible = torch.eye(width, dtype=torch.bool).repeat(count, 1, 1)
        canvas = torch.zeros(count, width, dtype=torch.bool)
        rows, targets, weights, words = [], [], [], []
        for i, c in enumerate(canvases):
            begin, stop = len(c.before), len(c.before) + len(c.ids)
            ids[i, :begin] = torch.tensor(c.before)
            ids[i, begin:stop] = torch.where(c.hidden, self.mask_id, c.ids)
            mask = visibility(self.config, 0, stop, stop, begin)
            visible[i, :stop, :stop] = True if mask is None else mask
            canvas[i, max(0, begin - shift) : stop] = True
            asked = c.hidden & (c.weights > 0)
            place = torch.arange(begin, stop)[asked] - shift
            rows.append(place.clamp_min(0) + i * width)
            targets.append(c.ids[asked])
            weights.append(c.weights[asked] / count)
            words.append(c.words[asked])
        flat = (torch.cat(parts) for parts in (rows, targets, weights, words))
        return TrainingBatch(ids, visible, canvas, *flat)
