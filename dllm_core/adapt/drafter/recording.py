"""The first stage: conversations become shards of replies and hidden states."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from dllm_core.adapt.drafter.conversations import Source
from dllm_core.adapt.drafter.replies import Writer
from dllm_core.adapt.drafter.shards import shard_paths, write_shard
from dllm_core.draft.config import fingerprint, shape_for
from dllm_core.engine import Engine
from dllm_core.errors import DataError, OptionError

Tell = Callable[[str], None]

PLAN = "plan.json"


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
    together: int = 32
    max_tokens: int = 40
    dtype: str = "auto"

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


def make_plan(engine: Engine, base: str, system: str, dtype: str, seed: int) -> RecordPlan:
    """The plan for this base.

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
    )


def record(
    engine: Engine,
    plan: RecordPlan,
    directory: Path,
    conversations: int,
    *,
    own: Sequence[str] = (),
    seconds: float | None = None,
    tell: Tell = lambda text: None,
) -> bool:
    """Write shards until there are so many conversations; goes on where it was stopped.

    Every shard draws from a seed of its own, so that it is the same whoever makes it and when.

    Returns:
        Whether all are there; False when the time was up.
    """
    plan.save(directory)
    wanted = -(-conversations // plan.shard)
    begin, made = monotonic(), 0
    writer = Writer(engine, plan.features, together=plan.together, max_tokens=plan.max_tokens)
    for number in range(wanted):
        path = directory / f"shard-{number:05}.safetensors"
        if path.exists():
            continue
        if made and seconds is not None and monotonic() - begin > seconds:
            return False
        source = Source(plan.seed * 1_000_003 + number, plan.system, own)
        # The longest first, so that the last passes are full, too.
        drawn = sorted((source.draw() for _ in range(plan.shard)), key=lambda c: -len(c.turns))
        recordings = list(writer.write(iter(drawn)))
        write_shard(path, recordings)
        made += 1
        left = (monotonic() - begin) / made * (wanted - len(shard_paths(directory)))
        tokens = sum(int((r.replies[:, 1] - r.replies[:, 0]).sum()) for r in recordings)
        tell(
            f"{number + 1} of {wanted} shards, {len(recordings)} conversations with {tokens} "
            f"reply tokens in the last; {_minutes(left)} left"
        )
    return True


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
