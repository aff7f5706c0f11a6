"""Typed questions about a conversation, answered in one pass over its cached prompt.

Every question is a branch behind the prompt (`dllm_core.decode.branches`), so that the cache stays
as it was and a reply may follow at once. `Decider.decide_apart`, a pass for each question, is the
plain version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dllm_core.decode import branches
from dllm_core.decode.backend import Cache
from dllm_core.decode.branches import Branch
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.model.cache import PromptCache
from dllm_core.tasks.calibration import Calibration, fit
from dllm_core.tasks.questions import Extract, Question, Score, check_questions

CONTENT_FREE = ("N/A", "[MASK]", "...")
"""Words without content, for contextual calibration."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Attributes:
        name: name of the question.
        value: the likeliest value: bool, label, whole number, or a value out of the words or None.
        probability: its probability, 0 to 1.
        probabilities: probability of every label; they add up to 1.
        mean: mean of a score by these probabilities; None for other questions.
    """

    name: str
    value: Any
    probability: float
    probabilities: Mapping[str, float]
    mean: float | None = None


class Decider:
    """Asks a fixed set of questions; make it once and use it for every turn.

    Contextual calibration (Zhao et al., arXiv 2102.09690) divides the probability of each label by
    its probability behind words without content. It is measured once, when first needed or by
    `warm_up`. Extracted values, which differ from turn to turn, have none.

    Args:
        engine: the engine.
        questions: 1 to 32 questions.
        before: (role, content) messages that all prompts begin with, such as the instructions, for
            the contextual calibration.
        contextual: whether probabilities are calibrated contextually.
        calibrations: calibrations by labelled examples, by name of the question; see `fit`.
        priors: contextual calibrations that another decider has measured, by name of the question;
            see `priors`. Questions that they lack are not calibrated contextually.

    Raises:
        OptionError: a question cannot be asked; the sentence names it.
    """

    def __init__(
        self,
        engine: Engine,
        questions: Sequence[Question],
        *,
        before: Sequence[tuple[str, str]] = (),
        contextual: bool = True,
        calibrations: Mapping[str, Calibration] | None = None,
        priors: Mapping[str, Tensor] | None = None,
    ) -> None:
        check_questions(questions)
        self.questions = tuple(questions)
        self.calibrations = dict(calibrations or {})
        self._engine, self._before, self._contextual = engine, tuple(before), contextual
        self._priors: list[Tensor] | None = None
        if priors is not None:
            none = torch.zeros(1, dtype=torch.float64)
            self._priors = [priors.get(each.name, none) for each in self.questions]
        self._ends = _ends(engine)
        self._known = [tuple(engine.tokenizer.encode(each.prompt)) for each in self.questions]
        self._fixed: dict[int, Branch] = {}
        """The branches of questions whose answers are known beforehand, by their place."""
        for place, question in enumerate(self.questions):
            self._spelled(question, question.labels)
            if not isinstance(question, Extract):
                self._fixed[place] = self._made(place, question.labels)

    def _spelled(self, question: Question, labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Token ids of answers.

        Raises:
            OptionError: two answers have the same ids, or one has none.
        """
        encode = self._engine.tokenizer.encode
        ids = tuple(tuple(encode(f" {label.strip()}")) for label in labels)
        for i, each in enumerate(ids):
            if not each or each in ids[:i]:
                other = labels[ids.index(each)] if each else ""
                raise OptionError(
                    f"The labels {other!r} and {labels[i]!r} of the question {question.name!r} "
                    "are the same tokens to this model: choose labels that differ."
                )
        return ids

    def _branch(self, place: int, words: str) -> tuple[Branch, tuple[str, ...]]:
        question = self.questions[place]
        if place in self._fixed:
            return self._fixed[place], question.labels
        labels = self._distinct(question.answers(words))
        return self._made(place, labels), labels

    def _made(self, place: int, labels: Sequence[str]) -> Branch:
        ids = self._spelled(self.questions[place], labels)
        nested = any(a != b and b[: len(a)] == a for a in ids for b in ids)
        return Branch(self._known[place], ids, self._ends if nested else ())

    def _distinct(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Extracted spellings without those that are the same tokens as an earlier one."""
        encode = self._engine.tokenizer.encode
        first: dict[tuple[int, ...], str] = {}
        for label in labels:
            first.setdefault(tuple(encode(f" {label.strip()}")), label)
        return tuple(first.values())

    def decide(self, ids: Sequence[int], cache: Cache, words: str = "") -> list[Answer]:
        """Answer all questions about the conversation `ids` in one forward pass.

        Args:
            ids: token ids of the prompt, such as `Engine.encode_chat` gives; what the cache lacks
                is read into it first.
            cache: the sequence's cache. A cache that holds the prompt keeps its tokens, those
                behind the prompt included. No reply may be under way on it.
            words: the caller's words, which values are extracted from.

        Raises:
            OptionError: the prompt is empty.
            PromptTooLongError: prompt and questions do not fit the context.
        """
        return self._decide(ids, cache, words, apart=False)

    def decide_apart(self, ids: Sequence[int], cache: Cache, words: str = "") -> list[Answer]:
        """The plain version of `decide`: a forward pass for each question."""
        return self._decide(ids, cache, words, apart=True)

    def _decide(self, ids: Sequence[int], cache: Cache, words: str, *, apart: bool) -> list[Answer]:
        own, priors = self._read(ids, cache), self._prior()
        asked = [self._branch(i, words) for i in range(len(self.questions))]
        scores = self._scores(ids, own, [branch for branch, _ in asked], apart=apart)
        return [
            self._answer(question, labels, found - prior, words)
            for question, (_, labels), found, prior in zip(
                self.questions, asked, scores, priors, strict=True
            )
        ]

    def _read(self, ids: Sequence[int], cache: Cache) -> PromptCache:
        if not ids:
            raise OptionError("The prompt is empty: there is nothing to decide about.")
        own = cache.contiguous
        config = self._engine.config
        block = config.block_length if config.attention == "block_causal" else 1
        if own.shared_prefix(ids) < len(ids) // block * block:
            self._engine.host.prefill(ids, own)
        return own

    def _scores(
        self, ids: Sequence[int], cache: PromptCache, asked: Sequence[Branch], *, apart: bool
    ) -> list[Tensor]:
        model = self._engine.model
        groups = [[each] for each in asked] if apart else [asked]
        return [
            found
            for group in groups
            for found in branches.score(model, cache, ids, group, relative=True)
        ]

    def _prior(self) -> list[Tensor]:
        """Log-probabilities of the labels behind words without content; zeros without them."""
        if self._priors is None:
            self._priors = [torch.zeros(1, dtype=torch.float64) for _ in self.questions]
            if self._contextual:
                self._measure(self._priors)
        return self._priors

    def _measure(self, priors: list[Tensor]) -> None:
        fixed = [i for i, each in enumerate(self.questions) if not isinstance(each, Extract)]
        if not fixed:
            return
        asked = [self._branch(i, "")[0] for i in fixed]
        found = []
        for words in CONTENT_FREE:
            ids = self._conversation(words)
            cache = self._read(ids, self._engine.contiguous_cache())
            found.append(self._scores(ids, cache, asked, apart=False))
        for place, each in zip(fixed, zip(*found, strict=True), strict=True):
            # The mean of the probabilities.
            priors[place] = torch.stack([part.log_softmax(-1) for part in each]).logsumexp(0)

    def _conversation(self, words: str) -> list[int]:
        try:
            return self._engine.encode_chat([*self._before, ("user", words)])
        except OptionError:  # a base model without a chat template
            text = "\n".join([*(content for _, content in self._before), words])
            return self._engine.tokenizer.encode(f"{text}\n")

    @property
    def priors(self) -> dict[str, Tensor]:
        """The contextual calibration of each question, by its name; measured if it is not yet."""
        names = (question.name for question in self.questions)
        return dict(zip(names, self._prior(), strict=True))

    def warm_up(self) -> None:
        """Measure the contextual calibration: three prompts are read and decided on."""
        self._prior()

    def _answer(
        self, question: Question, labels: Sequence[str], scores: Tensor, words: str
    ) -> Answer:
        scores = scores.log_softmax(-1)
        calibration = self.calibrations.get(question.name)
        if calibration is not None and len(calibration.bias) == len(labels):
            scores = calibration.apply(scores)
        likely = scores.exp().tolist()
        best = max(range(len(labels)), key=likely.__getitem__)
        mean = None
        if isinstance(question, Score):
            mean = sum(p * int(label) for p, label in zip(likely, labels, strict=True))
        value = question.value(labels[best], words)
        named = dict(zip(labels, likely, strict=True))
        return Answer(question.name, value, likely[best], named, mean)

    def fit(self, name: str, examples: Sequence[tuple[str, str]]) -> Calibration:
        """Calibrate a question by labelled examples, and use the calibration from now on.

        Args:
            name: name of the question, which has fixed labels.
            examples: (words of a caller, right label) pairs.

        Raises:
            OptionError: there is no such question, no example, or a label is not one of its own.
        """
        place = next((i for i, each in enumerate(self.questions) if each.name == name), None)
        if place is None or isinstance(self.questions[place], Extract):
            raise OptionError(f"There is no question {name!r} with labels to calibrate.")
        labels = self.questions[place].labels
        wrong = next((label for _, label in examples if label not in labels), None)
        if wrong is not None:
            raise OptionError(f"{wrong!r} is not a label of the question {name!r}.")
        branch, prior = self._branch(place, "")[0], self._prior()[place]
        cache, scores = self._engine.contiguous_cache(), []
        for words, _ in examples:
            ids = self._conversation(words)
            found = self._scores(ids, self._read(ids, cache), [branch], apart=False)[0]
            scores.append((found - prior).log_softmax(-1))
        stacked = torch.stack(scores) if scores else torch.zeros(0, len(labels))
        calibration = fit(stacked, [labels.index(label) for _, label in examples])
        self.calibrations[name] = calibration
        return calibration


def _ends(engine: Engine) -> tuple[int, ...]:
    """Tokens that end an answer: those that end a reply, a line, or a sentence."""
    encoded = (engine.tokenizer.encode(text) for text in ("\n", ".", ","))
    return tuple(dict.fromkeys([*engine.config.eos_ids, *(ids[0] for ids in encoded if ids)]))
