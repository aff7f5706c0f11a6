"""A caller's words routed to one of several tasks by a noisy channel.

A small model hardly knows which name of a task fits the words, but knows well how likely the words
are from a caller who wants the task: p(words | task) instead of p(task | words) (Min et al.,
arXiv 2108.04106). The descriptions are read once, and a decision is one pass over the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dllm_core.decode.forest import beginnings
from dllm_core.engine import Engine
from dllm_core.errors import OptionError

LONGEST_DESCRIPTIONS = (240, 80, 24)
"""Characters of a description that are read; fewer where all do not fit the context."""
LONGEST_WORDS = 64
"""Tokens of the words that are read, from their end."""
MOST_TASKS = 64
"""Most tasks."""
OTHERWISE = "Chat with the caller."
"""Description of everything else."""
_BEFORE = "A phone assistant helps callers.\nTask: "
_BEHIND = '\nCaller: "'


@dataclass(frozen=True, slots=True)
class Route:
    """The task of some words.

    Attributes:
        task: index of the task; None for none of them.
        probability: its probability, 0 to 1.
        probabilities: probability of every task, and of none in the end.
    """

    task: int | None
    probability: float
    probabilities: tuple[float, ...]


class Router:
    """Routes words to tasks; make it once for a set of tasks.

    Args:
        engine: the engine.
        tasks: description of each task, such as "Book a table at the restaurant."
        otherwise: description of everything else.
        plain: whether descriptions are read anew for every decision (the plain version).

    Raises:
        OptionError: there is no task, more than 64, or one has no description.
        PromptTooLongError: the descriptions do not fit the context.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: Sequence[str],
        *,
        otherwise: str = OTHERWISE,
        plain: bool = False,
    ) -> None:
        if not 0 < len(tasks) <= MOST_TASKS:
            raise OptionError(f"{len(tasks)} tasks to choose from: give 1 to {MOST_TASKS}.")
        if not all(task.strip() for task in tasks):
            raise OptionError("A task has no description: say when it is wanted.")
        self._encode = engine.tokenizer.encode
        every = [*tasks, otherwise]
        texts = [self._text(task, LONGEST_DESCRIPTIONS[-1]) for task in every]
        # Half of the context is left to the words, which have rows behind every task.
        for longest in LONGEST_DESCRIPTIONS[:-1]:
            longer = [self._text(task, longest) for task in every]
            if sum(map(len, longer)) <= engine.context // 2:
                texts = longer
                break
        self._texts = beginnings(engine.model, engine.context, texts, plain=plain)

    def _text(self, task: str, longest: int) -> list[int]:
        described = " ".join(task.split())
        if len(described) > longest:
            described = described[:longest].rpartition(" ")[0] or described[:longest]
        return self._encode(f"{_BEFORE}{described}{_BEHIND}")

    def route(self, words: str, *, required: bool = False) -> Route:
        """The task of a caller's words.

        Args:
            words: the words; without any the answer is none, or the first task if required.
            required: whether one of the tasks must be chosen.

        Raises:
            PromptTooLongError: words and tasks do not fit the context.
        """
        ids = self._encode(" ".join(words.split()))[-LONGEST_WORDS:]
        if not ids:
            return Route(0 if required else None, 1.0, ())
        scores = self._texts.score(ids)
        if required:
            scores[-1] = -float("inf")
        likely = scores.softmax(-1).tolist()
        best = max(range(len(likely)), key=likely.__getitem__)
        return Route(None if best == len(likely) - 1 else best, likely[best], tuple(likely))
