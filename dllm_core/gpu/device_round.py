"""Rounds: several steps for several sequences on the device, without waiting for the host.

The host writes one manifest, the device denoises, the host reads one record. The work between
depends on numbers in the manifest only, never on Python, so it can be captured as a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dllm_core.config import ModelConfig
from dllm_core.errors import OptionError
from dllm_core.gpu.paged_model import PagedModel, Where
from dllm_core.model.pages import SCRATCH
from dllm_core.ops import PAGE
from dllm_core.ops.attention import canvas_attention
from dllm_core.ops.commit import commit
from dllm_core.ops.head import top1

_LIVE, _LENGTH, _VISIBLE, _SHARE, _TAKEN, _LEAD, _HEADER = range(7)
"""Columns of a manifest; the page table, the ids and the mask of the canvas follow."""

OPEN = -1
"""Id that a record has for a position that is still open."""

_LARGEST_ID = 2**24
"""Bound on token ids: a record has them as float32, which is exact below it."""


@dataclass(frozen=True, slots=True)
class RoundShape:
    """Sizes that a graph is captured for; sequences that need less of each fit in.

    Attributes:
        batch: number of sequences.
        canvas: positions of each canvas.
        pages: pages that a sequence attends to, its prompt and its canvas together.
        steps: number of steps.
    """

    batch: int
    canvas: int
    pages: int
    steps: int


@dataclass(frozen=True, slots=True)
class RoundOptions:
    """Decode options that all sequences of a round share.

    Attributes:
        threshold: commit tokens that are at least that probable; None commits a quota.
        eos_last: commit end-of-reply tokens after all others.
        layers: layers that the canvas runs through; None means all.
        banned: tokens that no position becomes, beside the mask.
    """

    threshold: float | None = None
    eos_last: bool = True
    layers: tuple[int, ...] | None = None
    banned: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RoundEntry:
    """Input of a round for one sequence.

    Attributes:
        pages: page table of the sequence.
        length: number of positions before the canvas, whose keys and values are stored.
        visible: number of positions that are attended to, up to the end of the canvas.
        ids: the canvas, final or mask tokens; a prompt token t in a block that the prompt shares
            with the canvas is written as -1 - t.
        masked: which positions of the canvas are open.
        share: number of steps among which the quota divides the canvas.
        taken: number of those steps that earlier rounds have taken.
        lead_id: the token before the canvas, which bidirectional models with shifted logits run
            together with it.
        lead: hidden state (hidden_size,) of that token where it does not depend on the canvas.
    """

    pages: Sequence[int]
    length: int
    visible: int
    ids: Sequence[int]
    masked: Sequence[bool]
    share: int
    taken: int = 0
    lead_id: int = 0
    lead: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a round for one sequence.

    Attributes:
        steps: after each step the ids of the canvas, OPEN at open positions, and probabilities.
        live: whether open positions are left before the end of the reply.
    """

    steps: tuple[tuple[list[int], list[float]], ...]
    live: bool


def runs_lead(config: ModelConfig) -> bool:
    """Whether the token before the canvas runs with it: a bidirectional model, shifted logits."""
    return config.shift and config.attention == "bidirectional"


def keeps_lead(config: ModelConfig) -> bool:
    """Whether the state before the canvas is computed once: a causal model, shifted logits."""
    return config.shift and config.attention == "block_causal"


class DeviceRound:
    """Buffers of one shape and the steps that run on them."""

    def __init__(self, model: PagedModel, shape: RoundShape, options: RoundOptions) -> None:
        self.shape, self.options, self._model = shape, options, model
        config, device = model.config, model.pool.device
        self._config, self._device = config, device
        assert config.mask_id is not None
        if config.vocab_size > _LARGEST_ID:
            raise OptionError(f"The device counts at most {_LARGEST_ID} tokens in a vocabulary.")
        # The last column of the table is the scratch page.
        self._table_at = _HEADER
        self._ids_at = self._table_at + shape.pages + 1
        width = self._ids_at + 2 * shape.canvas
        pinned = device.type == "cuda"
        self._written = torch.zeros((shape.batch, width), dtype=torch.int64, pin_memory=pinned)
        self._manifest = torch.zeros_like(self._written, device=device)
        self._lead = torch.zeros(
            (shape.batch, config.hidden_size), dtype=model.dtype, device=device
        )
        record = (shape.steps + 1, shape.batch, 2 * shape.canvas)
        self._record = torch.zeros(record, dtype=torch.float32, device=device)
        self._read = torch.zeros(record, dtype=torch.float32, pin_memory=pinned)
        never = [config.mask_id, *options.banned]
        self._banned = torch.tensor(never, dtype=torch.int32, device=device)
        self._eos_ids = torch.tensor(config.eos_ids, dtype=torch.int64, device=device)
        lead = int(runs_lead(config))
        self._columns = torch.arange(shape.canvas + lead, device=device)

    @property
    def positions(self) -> int:
        """Positions in the model's rotary table."""
        return self._model.positions

    @property
    def rows(self) -> int:
        """Rows of every forward pass, those of empty entries included."""
        return self.shape.batch * len(self._columns)

    def write(self, entries: Sequence[RoundEntry]) -> None:
        """Copy the entries to the device: one transfer, and one for each lead."""
        sheet = self._written.zero_()
        sheet[:, self._table_at : self._ids_at] = SCRATCH
        for row, entry in zip(sheet.numpy(), entries, strict=False):
            row[_LIVE] = 1
            row[_LENGTH], row[_VISIBLE] = entry.length, entry.visible
            row[_SHARE], row[_TAKEN], row[_LEAD] = entry.share, entry.taken, entry.lead_id
            row[self._table_at : self._table_at + len(entry.pages)] = entry.pages
            row[self._ids_at : self._ids_at + len(entry.ids)] = entry.ids
            begin = self._ids_at + self.shape.canvas
            row[begin : begin + len(entry.masked)] = entry.masked
        self._manifest.copy_(sheet, non_blocking=True)
        for i, entry in enumerate(entries):
            if entry.lead is not None:
                self._lead[i].copy_(entry.lead)

    def full(self) -> list[RoundEntry]:
        """Entries that keep all rows busy, to warm up and to measure; all write to one page."""
        shape, mask = self.shape, self._config.mask_id
        assert mask is not None
        visible = shape.pages * PAGE
        lead = int(runs_lead(self._config))
        entry = RoundEntry(
            pages=[SCRATCH] * shape.pages,
            length=visible - shape.canvas - lead,
            visible=visible,
            ids=[mask] * shape.canvas,
            masked=[True] * shape.canvas,
            share=shape.steps,
        )
        return [entry] * shape.batch

    def run(self) -> None:
        """Run all steps. The work is on the device only, so that a graph can capture it."""
        state = _State(self, self._manifest, self._columns)
        for step in range(self.shape.steps):
            self._step(state)
            self._record[step].copy_(state.packed())
        self._record[self.shape.steps, :, 0].copy_(state.steps)
        self._record[self.shape.steps, :, 1].copy_(state.live)

    def _step(self, state: _State) -> None:
        config, options, shape = self._config, self.options, self.shape
        hidden = self._model.run(state.inputs(), state.where, state.attend, options.layers)
        rows = self._predicting(hidden.view(shape.batch, -1, config.hidden_size))
        proposed, probability = top1(rows, self._model.head, self._banned, state.live)
        commit(
            state.ids,
            state.masked,
            proposed.view(shape.batch, -1),
            probability.view(shape.batch, -1),
            state.confidence,
            state.live,
            state.steps,
            self._eos_ids,
            quota=state.quota() if options.threshold is None else None,
            threshold=options.threshold,
            eos_last=options.eos_last,
        )

    def _predicting(self, hidden: Tensor) -> Tensor:
        """Hidden states (B * C, hidden_size) whose logits predict the positions of the canvas."""
        if runs_lead(self._config):
            hidden = hidden[:, :-1]
        elif keeps_lead(self._config):
            hidden = torch.cat([self._lead[:, None], hidden[:, :-1]], dim=1)
        return hidden.reshape(-1, hidden.shape[-1])

    def read(self, entries: Sequence[RoundEntry]) -> list[Outcome]:
        """Wait for the device and copy the record; returns the outcome of each entry."""
        self._read.copy_(self._record, non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        record = self._read.numpy()
        outcomes = []
        for i, entry in enumerate(entries):
            size = len(entry.ids)
            steps, live = record[-1, i, :2]
            taken = tuple(
                (row[:size].astype(int).tolist(), row[self.shape.canvas :][:size].tolist())
                for row in record[: int(steps) - entry.taken, i]
            )
            outcomes.append(Outcome(taken, bool(live)))
        return outcomes


class _State:
    """State that changes from step to step, unpacked from the manifest of a round."""

    def __init__(self, owner: DeviceRound, manifest: Tensor, columns: Tensor) -> None:
        shape, at = owner.shape, _HEADER + owner.shape.pages + 1
        self.live = manifest[:, _LIVE].int()
        self.steps = manifest[:, _TAKEN].int()
        self.ids = manifest[:, at : at + shape.canvas].clone()
        self.masked = manifest[:, at + shape.canvas :].bool()
        self.confidence = torch.zeros_like(self.ids, dtype=torch.float32)
        self._share, self._lead = manifest[:, _SHARE].int(), manifest[:, _LEAD]
        self._visible = manifest[:, _VISIBLE].int()
        table = manifest[:, _HEADER:at]
        self._table = table[:, :-1].int().contiguous()
        positions = manifest[:, _LENGTH, None] + columns
        column = (positions // PAGE).clamp_max(shape.pages)
        slots = table.gather(1, column) * PAGE + positions % PAGE
        # Rows behind the end of a canvas may lie behind the last position of the table.
        known = positions.clamp_max(owner.positions - 1)
        self.where = Where(known.flatten().int(), slots.flatten(), self.live)
        self._runs_lead = len(columns) > shape.canvas

    def inputs(self) -> Tensor:
        """Token ids (R,) of all rows."""
        tokens = torch.where(self.ids < 0, -1 - self.ids, self.ids)
        if self._runs_lead:
            tokens = torch.cat([self._lead[:, None], tokens], dim=1)
        return tokens.flatten()

    def attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        sequences = q.view(len(self._table), -1, *q.shape[1:])
        attended = canvas_attention(sequences, keys, values, self._table, self._visible, self.live)
        return attended.view(len(q), -1)

    def quota(self) -> Tensor:
        """int32 (B,): open positions shared evenly among the steps left, as `unmask.quota`."""
        left = (self._share - self.steps).clamp_min(1)
        return ((self.masked.sum(-1) + left - 1) // left).int()

    def packed(self) -> Tensor:
        """float32 (B, 2 C): ids, OPEN at open positions, and probabilities."""
        return torch.cat([self.ids.masked_fill(self.masked, OPEN).float(), self.confidence], -1)
