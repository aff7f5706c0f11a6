"""The first stage: conversations become shards of replies and hidden states."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from dllm_core.adapt.drafter.conversations import Source
from dllm_core.adapt.drafter.replies import LONGEST, Writer
from dllm_core.adapt.drafter.shards import shard_path, write_shard
from dllm_core.config import ModelConfig
from dllm_core.draft.config import fingerprint, shape_for
from dllm_core.engine import Engine
from dllm_core.errors import DataError, OptionError
from dllm_core.model.place import Dtype

Tell = Callable[[str], None]

PLAN = "plan.json"
_MOST_BYTES = 2 << 30
"""Of keys and values."""
_TOGETHER, _FEWEST = 32, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPlan:
    """What a directory of shards is made of; kept beside them, so that they stay of one kind."""

    base: str
    """Name of the base, without its directory."""
    fingerprint: str
    features: tuple[int, ...]
    system: str
    seed: int = 1
    shard: int = 128
    """Conversations of one file."""
    together: int = _TOGETHER
    """Conversations in step; fewer of a large base (`together`)."""
    max_tokens: int = 40
    dtype: Dtype = "auto"
    own: str = ""
    """SHA-256 of the user's own prompts, in their order."""

    def save(self, directory: Path) -> None:
        """Raises DataError where the directory holds shards of another plan."""
        directory.mkdir(parents=True, exist_ok=True)
        path, text = directory / PLAN, json.dumps(asdict(self), indent=2) + "\n"
        if path.exists() and json.loads(path.read_text()) != json.loads(text):
            raise DataError(
                f"{directory} holds recordings of another base, other layers or other settings "
                f"({path.name}): name another directory, or delete it."
            )
        path.write_text(text)

    @classmethod
    def read(cls, directory: Path) -> RecordPlan:
        """Raises DataError where there is none."""
        try:
            values: dict[str, Any] = json.loads((directory / PLAN).read_text())
            return cls(**{**values, "features": tuple(values["features"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{directory} holds no recordings to train on: {error}.") from error


def make_plan(
    engine: Engine, base: str, system: str, dtype: Dtype, seed: int, own: Sequence[str] = ()
) -> RecordPlan:
    """The plan for this base, and for prompts of the user's.

    Raises:
        OptionError: the base does not decode token by token, so that there is nothing to draft.
    """
    if not engine.config.autoregressive:
        raise OptionError("A drafter is for models that write from left to right; this one is not.")
    return RecordPlan(
        base=Path(base).name,
        fingerprint=fingerprint(engine.model),
        features=shape_for(engine.config)["features"],
        system=system,
        dtype=dtype,
        seed=seed,
        own=hashlib.sha256("\n".join(own).encode()).hexdigest() if own else "",
        together=together(engine.config),
    )


def together(config: ModelConfig) -> int:
    """Conversations in step whose keys and values, in float32, fit a process of some gigabytes."""
    token = config.num_layers * 2 * config.num_kv_heads * config.head_dim * 4
    return max(_FEWEST, min(_TOGETHER, _MOST_BYTES // (token * LONGEST)))


@dataclass(slots=True)
class ShardMaker:
    """Makes the shards of a plan, each from a seed of its own: the same whoever makes it and
    when."""

    engine: Engine
    plan: RecordPlan
    directory: Path
    own: Sequence[str]

    def make(self, number: int) -> _Made:
        """Write a shard; returns its number, its conversations and their reply tokens."""
        plan = self.plan
        source = Source(plan.seed * 1_000_003 + number, plan.system, self.own)
        # The longest first, so that the last passes are full, too.
        drawn = sorted((source.draw() for _ in range(plan.shard)), key=lambda c: -len(c.turns))
        writer = Writer(
            self.engine, plan.features, together=plan.together, max_tokens=plan.max_tokens
        )
        recordings = list(writer.write(iter(drawn)))
        write_shard(shard_path(self.directory, number), recordings)
        tokens = sum(int((r.replies[:, 1] - r.replies[:, 0]).sum()) for r in recordings)
        return number, len(recordings), tokens


def record(
    engine: Engine,
    plan: RecordPlan,
    directory: Path,
    conversations: int,
    *,
    own: Sequence[str] = (),
    seconds: float | None = None,
    tell: Tell = lambda text: None,
    source: str | None = None,
    processes: int = 1,
) -> bool:
    """Write shards until there are so many conversations; goes on where it was stopped.

    With several `processes` each loads the base from `source`, for one thread: two cores with a
    shard each make two in two thirds of the time that they take over one after the other.

    Returns:
        Whether all are there; False when the time was up.
    """
    plan.save(directory)
    wanted = -(-conversations // plan.shard)
    todo = [n for n in range(wanted) if not shard_path(directory, n).exists()]
    begin, made = monotonic(), 0

    def in_time() -> Iterator[int]:
        for number in todo:
            if made and seconds is not None and monotonic() - begin > seconds:
                return
            yield number

    if source is None or processes < 2 or len(todo) < 2:
        maker = ShardMaker(engine, plan, directory, own)
        results: Iterator[_Made] = map(maker.make, in_time())
    else:
        results = _made_by_many((source, plan, directory, own), in_time(), processes)
    for number, conversations, tokens in results:
        made += 1
        left = (monotonic() - begin) / made * (len(todo) - made)
        tell(
            f"shard {number + 1} of {wanted}: {conversations} conversations with {tokens} reply "
            f"tokens; {_minutes(left)} left"
        )
    return made == len(todo)


_Beginning = tuple[str, RecordPlan, Path, Sequence[str]]
_Made = tuple[int, int, int]


def _made_by_many(beginning: _Beginning, numbers: Iterator[int], processes: int) -> Iterator[_Made]:
    """Shards as they are done, with one under way in each process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin_process, beginning) as pool:
        running = {pool.submit(_make_here, n) for n in islice(numbers, processes)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                yield each.result()
                running |= {pool.submit(_make_here, n) for n in islice(numbers, 1)}


_maker: ShardMaker
"""Of a process that makes shards."""


def _begin_process(source: str, plan: RecordPlan, directory: Path, own: Sequence[str]) -> None:
    """Load the base in a process of the pool, which ends quietly at Ctrl-C."""
    global _maker
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    engine = Engine.load(source, dtype=plan.dtype, device="cpu", threads=1)
    _maker = ShardMaker(engine, plan, directory, own)


def _make_here(number: int) -> _Made:
    return _maker.make(number)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
