"""Training loop: resumable with bit-identical results, with a time limit."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dllm_core.adapt.collate import Collator, TrainingBatch
from dllm_core.adapt.examples import Example, write_rows
from dllm_core.adapt.loss import Loss, loss_of
from dllm_core.adapt.network import Network, positions_of
from dllm_core.errors import AdapterError, DataError, OptionError
from dllm_core.model import lora
from dllm_core.model.lora import Adapter, DenoiserSettings
from dllm_core.model.transformer import Transformer

LATEST, STATE, MOMENTS, LOG = "latest", "state.json", "moments.safetensors", "log.jsonl"
SAVE_SECONDS = 100.0
"""A checkpoint is written at least this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of one run. All but `seconds` must stay the same when it is resumed.

    Attributes:
        steps: number of optimiser steps.
        batch: examples per step; with complementary masks twice as many sequences.
        rate: highest learning rate.
        warm_up: share of the steps in which the learning rate rises; then it falls as a cosine.
        last_rate: learning rate of the last step, as a share of `rate`.
        clip: bound on the norm of the gradient.
        decay: weight decay of AdamW.
        seed: seed of the initial adapter, of the order of examples and of hidden positions.
        seconds: time limit of this call; the run can be resumed afterwards.

    Raises:
        OptionError: a value is out of bounds.
    """

    steps: int = 1000
    batch: int = 16
    rate: float = 5e-4
    warm_up: float = 0.05
    last_rate: float = 0.1
    clip: float = 1.0
    decay: float = 0.0
    seed: int = 0
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rate", "clip"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} must be positive, not {getattr(self, name)}.")
        if self.seconds is not None and self.seconds <= 0:
            raise OptionError(f"seconds must be positive, not {self.seconds}.")


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """Progress of a run after one step.

    Attributes:
        step: steps done.
        steps: steps in all.
        loss: the training loss.
        entropy: mean cross-entropy of hidden words, in nats.
        accuracy: share of hidden words whose most probable token is right.
        rate: learning rate of the step.
        seconds: time since this call began.
    """

    step: int
    steps: int
    loss: float
    entropy: float
    accuracy: float
    rate: float
    seconds: float


Listener = Callable[[TrainingReport], None]


def learning_rate(options: TrainOptions, step: int) -> float:
    """Learning rate of a step, counted from 0."""
    rising = max(1, round(options.warm_up * options.steps))
    if step < rising:
        return options.rate * (step + 1) / rising
    share = (step - rising) / max(1, options.steps - rising)
    cosine = (1 + math.cos(math.pi * min(1.0, share))) / 2
    return options.rate * (options.last_rate + (1 - options.last_rate) * cosine)


def pick(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Indices of the examples of a step; every epoch is a permutation drawn from the seed.

    They depend on the step alone, so resuming needs no other state.
    """
    places = range(step * batch, (step + 1) * batch)
    epochs = {place // count for place in places}
    orders = {
        epoch: torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch))
        for epoch in epochs
    }
    return [int(orders[place // count][place % count]) for place in places]


class Trainer:
    """Trains the adapter of one model; the model itself is frozen."""

    def __init__(
        self,
        model: Transformer,
        adapter: Adapter,
        collate: Collator,
        options: TrainOptions,
        directory: Path,
        *,
        base: str = "",
        recompute: bool = False,
    ) -> None:
        """Freeze the model and attach the adapter.

        Args:
            directory: receives the checkpoints, the log and the adapter.
            base: name of the model in the adapter's files.
            recompute: recompute activations in the backward pass.
        """
        self.collate, self.options, self.directory, self.base = collate, options, directory, base
        self.device = model.embedding.device
        self.step = 0
        self._data: str | None = None
        """Digest of the examples; None before the first run."""
        model.requires_grad_(False)
        lora.attach(model, adapter)
        self._adapter = adapter
        row = adapter.mask_row
        self._mask_row = None if row is None else nn.Parameter(row.float().to(self.device))
        layers = None if adapter.denoiser is None else adapter.denoiser.canvas_layers
        self.network = Network(
            model, mask_row=self._mask_row, canvas_layers=layers, recompute=recompute
        )
        self.parameters = dict(self._trainable())
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=options.rate, betas=(0.9, 0.98),
            weight_decay=options.decay,
        )  # fmt: skip

    def _trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in self.network.model.named_parameters():
            if ".a." in name or ".b." in name:
                yield name, parameter
        if self._mask_row is not None:
            yield "mask_row", self._mask_row

    def run(self, examples: Sequence[Example], listen: Listener = lambda report: None) -> bool:
        """Train until the steps are done or the time is up; returns whether they are done.

        Raises:
            DataError: there are no examples.
            OptionError: the run was resumed, and began with other examples.
        """
        if not examples:
            raise DataError("There is nothing to train on.")
        self._check_data(examples)
        self.directory.mkdir(parents=True, exist_ok=True)
        begin = saved = monotonic()
        limit = math.inf if self.options.seconds is None else begin + self.options.seconds
        rows: list[dict[str, Any]] = []
        self.network.train()
        batch = self._batch(examples, self.step)
        while self.step < self.options.steps and monotonic() < limit:
            rate = learning_rate(self.options, self.step)
            loss = self._advance(batch, rate)
            self.step += 1
            # Made while a GPU still works on the step; reading the figures below waits for it.
            batch = self._batch(examples, self.step)
            report = TrainingReport(
                step=self.step,
                steps=self.options.steps,
                loss=float(loss.total.detach()),
                entropy=float(loss.entropy),
                accuracy=float(loss.accuracy),
                rate=rate,
                seconds=round(monotonic() - begin, 3),
            )
            rows.append(asdict(report))
            listen(report)
            if monotonic() - saved > SAVE_SECONDS:
                self.save(rows)
                saved, rows = monotonic(), []
        self.save(rows)
        return self.step >= self.options.steps

    def _batch(self, examples: Sequence[Example], step: int) -> TrainingBatch:
        """Batch of a step; its random numbers depend on the seed and the step alone."""
        options = self.options
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + step)
        chosen = pick(len(examples), options.batch, step, options.seed)
        return self.collate([examples[i] for i in chosen], generator)

    def _advance(self, batch: TrainingBatch, rate: float) -> Loss:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self.measure(batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.options.clip)
        self._optimizer.step()
        return loss

    def measure(self, batch: TrainingBatch) -> Loss:
        """Loss of a batch, with its graph for the backward pass."""
        batch = batch.to(self.device)
        hidden = self.network(batch.ids, positions_of(batch.ids), batch.visible, batch.canvas)
        logits = self.network.logits(hidden.flatten(0, 1)[batch.rows])
        return loss_of(logits, batch, self.collate.mask_id)

    @torch.no_grad()
    def validate(self, examples: Sequence[Example], batches: int = 4) -> tuple[float, float]:
        """Mean cross-entropy (nats) and accuracy of hidden words, the same ones at every call."""
        self.network.eval()
        found = []
        for number in range(batches):
            generator = torch.Generator().manual_seed(number)
            chosen = pick(len(examples), min(self.options.batch, len(examples)), number, 0)
            loss = self.measure(self.collate([examples[i] for i in chosen], generator))
            found.append((float(loss.entropy), float(loss.accuracy)))
        self.network.train()
        entropies, accuracies = zip(*found, strict=True)
        return sum(entropies) / batches, sum(accuracies) / batches

    def adapter(self) -> Adapter:
        """The adapter as trained so far."""
        parts = {}
        for name, module in self.network.model.named_modules():
            if isinstance(module, lora.Adapted):
                for start, part in module.low_rank().items():
                    parts[(f"{name}.weight", start)] = part
        return replace(self._adapter, parts=parts, mask_row=self._mask_row)

    def save(self, rows: Sequence[dict[str, Any]] = ()) -> Path:
        """Write a checkpoint and delete older ones; a crash meanwhile keeps the last one intact.

        `rows` are appended to the log. Returns the directory of the checkpoint.
        """
        write_rows(self.directory / LOG, rows, append=True)
        place = self.directory / f"step-{self.step:07d}"
        lora.save(self.adapter(), self.network.model.config, place, self.base)
        moments: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            state = self._optimizer.state.get(parameter, {})
            for key in ("exp_avg", "exp_avg_sq"):
                if key in state:
                    moments[f"{name}/{key}"] = state[key].detach().cpu().contiguous()
        save_file(moments, place / MOMENTS)
        state = {
            "step": self.step,
            "options": asdict(replace(self.options, seconds=None)),
            "run": self._run(),
            "data": self._data,
        }
        (place / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        pointer = self.directory / (LATEST + ".new")
        pointer.write_text(place.name + "\n", encoding="utf-8")
        os.replace(pointer, self.directory / LATEST)
        for old in self.directory.glob("step-*"):
            if old != place:
                shutil.rmtree(old)
        return place

    def resume(self) -> bool:
        """Load the last checkpoint in the directory; returns False if there is none.

        Raises:
            OptionError: the checkpoint belongs to a run with other options.
            AdapterError: the checkpoint is damaged.
        """
        place = latest(self.directory)
        if place is None:
            return False
        state = _read_state(place)
        mine = json.loads(json.dumps(asdict(replace(self.options, seconds=None)) | self._run()))
        theirs = state["options"] | state.get("run", {})
        # Runs of older versions do not say all of it.
        different = sorted(k for k in mine if k in theirs and theirs[k] != mine[k])
        if different:
            raise OptionError(
                f"{self.directory} holds a run with other {', '.join(different)}: resume it with "
                "the same options, or choose another --out."
            )
        self.step, self._data = int(state["step"]), state.get("data")
        self._load(place)
        return True

    def _run(self) -> dict[str, Any]:
        """Facts of the run, beside its options, that must stay the same when it is resumed."""
        denoiser = self._adapter.denoiser
        return {
            "base": self.base,
            "rank": self._adapter.rank,
            "alpha": self._adapter.alpha,
            "canvas_layers": None if denoiser is None else denoiser.canvas_layers,
            "mask_id": self.collate.mask_id,
            **{f"collate.{k}": v for k, v in asdict(self.collate.options).items()},
        }

    def _check_data(self, examples: Sequence[Example]) -> None:
        """Refuse other examples than those that the run began with."""
        digest = hashlib.sha256()
        for example in examples:
            digest.update(repr((example.prompt, example.reply, example.order)).encode())
        found = digest.hexdigest()[:20]
        if self._data not in (None, found):
            raise OptionError(
                f"{self.directory} holds a run on other data: resume it with the same files and "
                "instructions, or choose another --out."
            )
        self._data = found

    @torch.no_grad()
    def _load(self, place: Path) -> None:
        saved = lora.load(place, self.network.model.config)
        for (name, start), part in saved.parts.items():
            module = self.network.model.get_submodule(name.removesuffix(".weight"))
            assert isinstance(module, lora.Adapted)
            mine = module.low_rank()[start]
            mine.a.copy_(part.a)
            mine.b.copy_(part.b)
        if self._mask_row is not None and saved.mask_row is not None:
            self._mask_row.copy_(saved.mask_row)
        moments = load_file(place / MOMENTS)
        for name, parameter in self.parameters.items():
            if f"{name}/exp_avg" in moments:
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.step)),
                    **{
                        key: moments[f"{name}/{key}"].to(self.device)
                        for key in ("exp_avg", "exp_avg_sq")
                    },
                }


def _read_state(place: Path) -> dict[str, Any]:
    try:
        state = json.loads((place / STATE).read_text(encoding="utf-8"))
        if isinstance(state, dict) and {"step", "options"} <= state.keys():
            return state
        reason = "it does not say where it stopped"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise AdapterError(f"The checkpoint {place} is damaged ({reason}): choose another --out.")


def latest(directory: Path) -> Path | None:
    """Directory of the last complete checkpoint of a run; None if there is none."""
    pointer = directory / LATEST
    if not pointer.exists():
        return None
    return directory / pointer.read_text(encoding="utf-8").strip()


def new_adapter(
    model: Transformer,
    *,
    rank: int,
    alpha: float,
    settings: DenoiserSettings | None,
    learn_mask: bool,
    seed: int,
) -> Adapter:
    """Initial adapter.

    With `learn_mask` it has an embedding of the mask token, which starts as the mean of all
    embeddings plus noise: from zero, or from the mean alone, the first norm would make all open
    positions equal.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = None if settings is None else settings.canvas_layers
    start = lora.fresh(model.config, rank=rank, alpha=alpha, layers=layers, generator=generator)
    if not learn_mask:
        return replace(start, denoiser=settings)
    table = model.embedding[:].detach().float()
    noise = torch.randn(table.shape[1], generator=generator).to(table.device)
    row = table.mean(0) + noise * table.std(0) * 0.5
    return replace(start, mask_row=row.cpu(), denoiser=settings)
