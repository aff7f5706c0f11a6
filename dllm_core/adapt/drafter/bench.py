"""`onebreath bench draft`: held-out conversations with and without drafts, and with llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from dllm_core.adapt.drafter.comparison import Llama, cases_of, compare, in_turn, rows_of
from dllm_core.adapt.held_out import conversations
from dllm_core.config import DecodeOptions
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.model.place import Dtype

SERVER = Path("benchmarks", "llama_server.py")
"""In a copy of the repository."""


def measure(
    source: str,
    *,
    drafter: Path | None,
    system: str,
    limit: int,
    max_tokens: int,
    dtype: Dtype,
    threads: int,
    seconds: float | None = None,
    wide: bool = False,
    rounds: int | None = None,
    llama_python: Path | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> Iterator[dict[str, Any]]:
    """Rows by domain, one about costs before them.

    Raises:
        OptionError: there is no drafter for this model, or llama.cpp does not answer.
        DrafterError: the drafter is damaged or belongs to another model.
    """
    engine = Engine.load(source, dtype=dtype, device="cpu", threads=threads)
    place = drafter or engine.bundled_drafter()
    if place is None:
        raise OptionError(
            "There is no drafter for this model: name one with --drafter, or make one with "
            "`onebreath adapt drafter`, in an hour with --counts-only."
        )
    engine.use_drafter(place)
    engine.warm_up(DecodeOptions(rule="draft"))
    costs = engine.host.draft_costs
    yield {
        "what": "draft costs",
        "threads": threads,
        "rows_ms": [round(ms, 2) for ms in costs.rows],
        "draft_ms": round(costs.draft, 2),
    }
    cases = cases_of(engine, in_turn(conversations(limit)), system)
    run = partial(
        compare, engine, cases, seconds=seconds, max_tokens=max_tokens, wide=wide, rounds=rounds,
        report=report,
    )  # fmt: skip
    if llama_python is None:
        yield from rows_of(list(run()))
        return
    command = [str(llama_python), str(SERVER), source, str(threads)]
    with closing(Llama(command)) as llama:
        found = list(run(llama=llama))
    yield from rows_of(found)
