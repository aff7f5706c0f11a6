"""Questions about a call, asked of a local engine: by heads, or all in one pass of the model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from agent.decision import NOTHING, Answer, Question
from dllm_core.decode.backend import Cache
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.tasks import questions as typed
from dllm_core.tasks.decide import Answer as EngineAnswer
from dllm_core.tasks.decide import Decider
from dllm_core.tasks.heads import Head, cached_features, load_heads, read_features
from dllm_core.tasks.values import candidates

_KEPT = 8
"""Sets of questions whose tokens stay in memory."""


class EngineDecisions:
    """Answers questions; shared by all calls of a responder.

    Args:
        engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._heads: dict[str, Head] = {}
        self._deciders: OrderedDict[tuple[Question, ...], Decider] = OrderedDict()
        self._before: tuple[tuple[str, str], ...] = ()
        self._priors: dict[str, Tensor] = {}
        """Contextual calibration of the questions of the settings, by name."""

    @property
    def heads(self) -> frozenset[str]:
        """Names of the questions that heads answer."""
        return frozenset(self._heads)

    def use(self, questions: Sequence[Question], heads: Sequence[Path], instructions: str) -> None:
        """Load heads, and measure the calibration of the questions that have none (blocking).

        Args:
            questions: those of the settings.
            heads: files of `onebreath adapt decisions`; later ones replace earlier ones.
            instructions: the agent's, which prompts begin with.

        Raises:
            DllmError: a file is not of this model, or a question cannot be asked of it.
        """
        self._before = (("system", instructions),)
        asked = {question.name: question for question in questions}
        for path in heads:
            for name, head in load_heads(path, self._engine.model).items():
                question = asked.get(name)
                if question is not None and set(question.labels) != set(head.labels):
                    raise OptionError(
                        f"{path}: the head of {name!r} knows {', '.join(head.labels)}, but the "
                        f"question has {', '.join(question.labels)}."
                    )
                self._heads[name] = head
        passed = [engine_question(q) for q in questions if q.name not in self._heads]
        if passed:
            self._priors = Decider(self._engine, passed, before=self._before).priors

    def _decider(self, questions: tuple[Question, ...]) -> Decider:
        found = self._deciders.pop(questions, None)
        if found is None:
            # A client's own questions are not calibrated: that would hold up the call.
            asked = [engine_question(question) for question in questions]
            found = Decider(self._engine, asked, priors=self._priors)
        self._deciders[questions] = found
        if len(self._deciders) > _KEPT:
            self._deciders.popitem(last=False)
        return found

    def decide(
        self,
        chat: Sequence[tuple[str, str]],
        questions: Sequence[Question],
        cache: Cache,
        ids: Sequence[int],
        words: str,
        *,
        quick: bool,
        busy: bool,
    ) -> list[Answer] | None:
        """The answers, in the order of the questions; without those that were not asked.

        Args:
            chat: (role, content) of the messages in the prompt, the caller's words last.
            cache: the call's.
            ids: token ids of the prompt.
            words: words that values are extracted from.
            quick: whether heads alone answer.
            busy: whether a reply is under way on the cache, which then is only read.

        Returns:
            None where the cache is busy and lacks what is needed.

        Raises:
            DllmError: a question cannot be asked, or the prompt does not fit the context.
        """
        found: dict[str, Answer] = {}
        headed = [q for q in questions if q.name in self._heads]
        if headed and chat and chat[-1][0] == "user":
            read = cached_features if busy else read_features
            features = read(self._engine, chat, cache.contiguous, ids)
            if features is None:
                return None
            for question in headed:
                likely = self._heads[question.name].probabilities(features)
                found[question.name] = _answer(question, likely, words, "head")
        rest = tuple(q for q in questions if q.name not in found)
        if rest and not quick:
            if busy:
                return None
            for question, given in zip(
                rest, self._decider(rest).decide(ids, cache, words), strict=True
            ):
                found[question.name] = _answer(question, given.probabilities, words, "model", given)
        return [found[q.name] for q in questions if q.name in found]


def engine_question(question: Question) -> typed.Question:
    """The question as the engine knows it."""
    common: dict[str, Any] = {
        "name": question.name,
        "text": question.text,
        "description": question.description,
        "examples": question.examples,
    }
    match question.kind:
        case "yes_no":
            return typed.YesNo(**common)
        case "choice":
            return typed.Choice(**common, options=question.options)
        case "score":
            return typed.Score(**common, low=question.low, high=question.high)
        case "extract":
            return typed.Extract(**common, type=question.type)  # type: ignore[arg-type]


def _answer(
    question: Question,
    likely: Any,
    words: str,
    by: Any,
    given: EngineAnswer | None = None,
) -> Answer:
    label = max(likely, key=likely.__getitem__)
    value: Any = label
    match question.kind:
        case "yes_no":
            value = label == "yes"
        case "score":
            value = int(label)
        case "extract":
            values = candidates(words, question.type)  # type: ignore[arg-type]
            value = None if label == NOTHING else values.get(label, label)
    mean = None if given is None else given.mean
    if question.kind == "score" and mean is None:
        mean = sum(p * int(step) for step, p in likely.items())
    said = question.kind == "extract" and value is not None
    return Answer(question.name, value, label, likely[label], dict(likely), mean, by, said)
