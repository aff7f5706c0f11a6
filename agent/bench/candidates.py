"""Candidates of ``onebreath bench responders``, as named on the command line."""

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
    """Load and warm up the responders; unnamed settings are those of ``settings``.

    Args:
        specs: responders as ``ENGINE``, ``ENGINE#MODEL`` or ``hosted:URL#MODEL``.
        steps: numbers of steps per canvas; each makes a candidate of every diffusion responder.
        settings: settings of the agent.
        prices: prices by spec.
        compute: compute thread of the local responders.
        progress: called with a description of each step.

    Raises:
        ConfigError: a spec is repeated or malformed, or ``steps`` fit no responder.
        ModelError: a model is missing or damaged.
        ResponderError: a responder cannot be loaded.
    """
    if len(set(specs)) < len(specs):
        raise ConfigError("a responder is named twice: give each once")
    threads = thread_plan(settings).responder
    candidates: list[Candidate] = []
    stepped = False
    for spec in specs:
        choice = choice_of(spec, settings)
        responder = compute.do(lambda choice=choice: make_responder(choice, threads, progress))  # type: ignore[misc]
        progress(f"warming up {spec}")
        compute.do(responder.warm_up)
        price, local = prices.get(spec), choice.engine != HOSTED or _is_local(choice.base_url)
        variants = _variants(spec, responder, steps)
        stepped = stepped or len(variants) > 1 or spec not in variants
        candidates += [Candidate(name, each, price, local) for name, each in variants.items()]
    if steps and not stepped:
        raise ConfigError("--steps is for diffusion only, and no such responder is named")
    return candidates


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
    """Load all candidates, ask them all prompts, and call ``take`` with the figures of each reply.

    Args:
        rounds: repetitions of all prompts.

    Raises:
        ConfigError, ModelError, ResponderError: as ``load_candidates``.
    """

    async def run(benchmark: ResponderBenchmark) -> None:
        async for score in benchmark.run(prompts, rounds, progress):
            take(score)

    with closing(Compute()) as compute, ExitStack() as loaded:
        candidates = load_candidates(specs, steps, settings, prices, compute, progress)
        for candidate in candidates:
            loaded.callback(candidate.responder.close)
        instructions = settings.responder.instructions
        asyncio.run(run(ResponderBenchmark(candidates, instructions, compute, find_meter())))


def choice_of(spec: str, settings: Settings) -> ResponderChoice:
    """Settings of a responder, with the fields of ``spec`` in place of the agent's.

    Raises:
        ConfigError: the spec names the engine ``ab``.
    """
    engine, _, model = spec.partition("#")
    changes: dict[str, Any] = {"engine": engine}
    if engine.startswith(f"{HOSTED}:"):
        changes = {"engine": HOSTED, "base_url": engine.removeprefix(f"{HOSTED}:")}
    if changes["engine"] == "ab":
        raise ConfigError("ab draws one of several responders: name its arms instead")
    if model:
        changes["model"] = model
    fields = set(ResponderChoice.model_fields)
    return ResponderChoice(**(settings.responder.model_dump(include=fields) | changes))


def _variants(spec: str, responder: Responder, steps: Sequence[int]) -> dict[str, Responder]:
    """The responder at each number of steps, by name; unchanged if it has no steps."""
    with_steps = getattr(responder, "with_steps", None)
    if not steps or with_steps is None:
        return {spec: responder}
    return {f"{spec} K={count}": with_steps(count) for count in steps}


def _is_local(url: str) -> bool:
    """Whether a URL leads to this machine, whose energy is measured."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
