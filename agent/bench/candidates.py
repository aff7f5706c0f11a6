"""Who takes part in a contest, as it is written on the command line."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import urlsplit

from agent.bench.energy import find_meter
from agent.bench.figures import Progress
from agent.bench.prices import Price
from agent.bench.prompts import Prompt
from agent.bench.responders import Candidate, ReplyScore, ResponderBenchmark
from agent.compute import Compute
from agent.config.settings import ResponderChoice, Settings
from agent.errors import ConfigError
from agent.responders.base import Responder
from agent.runtime.engines import make_responder, thread_plan

HOSTED = "hosted"


def load_candidates(
    specs: Sequence[str],
    steps: Sequence[int],
    settings: Settings,
    prices: Mapping[str, Price],
    compute: Compute,
    progress: Progress,
) -> list[Candidate]:
    """Load and warm up; whatever a spec leaves unsaid is as in ``settings``.

    Args:
        specs: names as ``ENGINE``, ``ENGINE#MODEL`` or ``hosted:URL#MODEL``.
        steps: each makes a contestant of its own of every responder that has steps per canvas.
        prices: by spec.

    Raises:
        ConfigError, ModelError, ResponderError: with what to do about it.
    """
    if len(set(specs)) < len(specs):
        raise ConfigError("a responder is named twice: give each once")
    threads = thread_plan(settings).responder
    contestants: list[Candidate] = []
    stepped = False
    for spec in specs:
        choice = choice_of(spec, settings)
        responder = compute.do(lambda choice=choice: make_responder(choice, threads, progress))  # type: ignore[misc]
        progress(f"warming up {spec}")
        compute.do(responder.warm_up)
        price, here = prices.get(spec), choice.engine != HOSTED or _is_here(choice.base_url)
        variants = _variants(spec, responder, steps)
        stepped = stepped or len(variants) > 1 or spec not in variants
        contestants += [Candidate(name, each, price, here) for name, each in variants.items()]
    if steps and not stepped:
        raise ConfigError("--steps is for diffusion only, and no such responder is named")
    return contestants


def compare_responders(
    specs: Sequence[str],
    steps: Sequence[int],
    settings: Settings,
    prices: Mapping[str, Price],
    prompts: Sequence[Prompt],
    rounds: int,
    take: Callable[[ReplyScore], None],
    progress: Progress,
) -> None:
    """Load everybody, ask every prompt of everybody, tell each score; the errors as above."""

    async def run(contest: ResponderBenchmark) -> None:
        async for score in contest.run(prompts, rounds, progress):
            take(score)

    with closing(Compute()) as compute, ExitStack() as loaded:
        contestants = load_candidates(specs, steps, settings, prices, compute, progress)
        for contestant in contestants:
            loaded.callback(contestant.responder.close)
        instructions = settings.responder.instructions
        asyncio.run(run(ResponderBenchmark(contestants, instructions, compute, find_meter())))


def choice_of(spec: str, settings: Settings) -> ResponderChoice:
    """The responder's settings with what a spec says put over them."""
    engine, _, model = spec.partition("#")
    changes: dict[str, Any] = {"engine": engine}
    if engine.startswith(f"{HOSTED}:"):
        changes = {"engine": HOSTED, "base_url": engine.removeprefix(f"{HOSTED}:")}
    if changes["engine"] == "ab":
        raise ConfigError("ab draws one of several: name its arms instead")
    if model:
        changes["model"] = model
    fields = set(ResponderChoice.model_fields)
    return ResponderChoice(**(settings.responder.model_dump(include=fields) | changes))


def _variants(spec: str, responder: Responder, steps: Sequence[int]) -> dict[str, Responder]:
    """By name, the responder at each number of steps, or as it is where it has none."""
    with_steps = getattr(responder, "with_steps", None)
    if not steps or with_steps is None:
        return {spec: responder}
    return {f"{spec} K={count}": with_steps(count) for count in steps}


def _is_here(url: str) -> bool:
    """Whether an address is of this machine, so that its energy is counted here."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
