"""How good an adapted model's replies are at few steps, beside its base's greedy ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from dllm_core.adapt.distill import ends_sentence, loops
from dllm_core.adapt.held_out import HeldOutQuestion, plain
from dllm_core.config import DecodeOptions
from dllm_core.engine import Engine

Row = dict[str, Any]
Tell = Callable[[str], None]
ONE_PER_STEP = "one_per_step"
STEPS: tuple[int | str, ...] = (4, 8, 16, 32, ONE_PER_STEP)


@dataclass(frozen=True, slots=True)
class EvaluatedReply:
    """One reply and what is measured of it."""

    question: HeldOutQuestion
    text: str
    ended: str
    nll: float | None
    """Mean negative log-likelihood of its tokens under the base, in nats; None when empty."""
    tokens: int
    ms: float
    """Denoising of the whole reply, its prompt being cached."""


def is_right(text: str, answers: Sequence[str]) -> bool:
    """Whether the reply contains an accepted answer as words of its own, plural included."""
    words = plain(text)
    wanted = "|".join(re.escape(plain(answer)) for answer in answers)
    return re.search(rf"(?<!\w)(?:{wanted})(?:'?s|es)?(?!\w)", words) is not None


def is_degenerate(text: str) -> bool:
    """Empty, or caught in a loop."""
    return not plain(text) or loops(text)


def ends_properly(answer: EvaluatedReply) -> bool:
    """The model ended the reply itself, after a whole sentence."""
    return answer.ended == "eos" and ends_sentence(answer.text)


def summary(k: int | str, answers: Sequence[EvaluatedReply], reference_nll: float) -> Row:
    """The row of one K. Shares are of 1; `ms` is the median of a reply."""
    facts = [is_right(a.text, a.question.answers) for a in answers if a.question.answers]
    nll = mean_nll(answers)
    return {
        "k": k,
        "facts": _share(facts),
        "degenerate": _share([is_degenerate(a.text) for a in answers]),
        "perplexity_ratio": round(math.exp(nll - reference_nll), 4),
        "ends_properly": _share([ends_properly(a) for a in answers]),
        "ms": round(median(a.ms for a in answers), 2),
        "replies": len(answers),
        "fact_questions": len(facts),
        "perplexity": round(math.exp(nll), 4),
        "tokens": round(sum(a.tokens for a in answers) / len(answers), 2),
    }


def mean_nll(answers: Sequence[EvaluatedReply]) -> float:
    """Per token, over all replies that have any."""
    scored = [(a.nll * a.tokens, a.tokens) for a in answers if a.nll is not None]
    tokens = sum(count for _, count in scored)
    return sum(nll for nll, _ in scored) / tokens if tokens else math.nan


def _share(flags: Sequence[bool]) -> float | None:
    return round(sum(flags) / len(flags), 4) if flags else None


class Evaluation:
    """The base answers first; its replies are the reference, and the first turns of dialogues."""

    def __init__(
        self,
        base: Engine,
        questions: Sequence[HeldOutQuestion],
        *,
        system: str,
        max_tokens: int = 32,
        tell: Tell = lambda what: None,
    ) -> None:
        """`base` is autoregressive: the model before its adaptation."""
        self._base, self._tell, self._system = base, tell, system
        self._options = DecodeOptions(max_tokens=max_tokens)
        self.questions = questions
        self._prompts = [self._prompt(question) for question in questions]
        self.reference = self._ask(base, self._options, "base")

    def _prompt(self, question: HeldOutQuestion) -> list[int]:
        messages = [("system", self._system), ("user", question.prompt)]
        if question.then is not None:
            first = self._base.reply(self._base.encode_chat(messages), options=self._options)
            messages += [("assistant", first.text), ("user", question.then)]
        return self._base.encode_chat(messages)

    def base_row(self) -> Row:
        """Greedy, token by token."""
        return summary("ar", self.reference, mean_nll(self.reference))

    def rows(self, adapted: Engine, steps: Sequence[int | str] = STEPS) -> Iterator[Row]:
        """A row for each number of steps on one canvas of the model's own length."""
        for k in steps:
            answers = self._ask(adapted, self._few(adapted, k), f"k={k}")
            yield summary(k, answers, mean_nll(self.reference))

    def _few(self, adapted: Engine, k: int | str) -> DecodeOptions:
        options = replace(adapted.default_options, max_tokens=self._options.max_tokens)
        if k == ONE_PER_STEP:
            return replace(options, rule="sequential")
        return replace(options, rule="quota", steps=int(k))

    def _ask(self, engine: Engine, options: DecodeOptions, name: str) -> list[EvaluatedReply]:
        answers = []
        pairs = zip(self.questions, self._prompts, strict=True)
        for number, (question, ids) in enumerate(pairs, 1):
            self._tell(f"{name}: {number} of {len(self.questions)}")
            reply = engine.reply(ids, options=options)
            end = next((i for i, t in enumerate(reply.ids) if t in engine.config.eos_ids), None)
            tokens = reply.ids[:end]
            nll = -self._base.score(ids, tokens) if tokens else None
            stats = reply.stats
            answers.append(
                EvaluatedReply(question, reply.text, stats.ended, nll, len(tokens), stats.ms)
            )
        return answers


def answer_rows(answers: Sequence[EvaluatedReply]) -> list[Mapping[str, Any]]:
    """The replies themselves, for reading."""
    return [
        {"kind": a.question.kind, "prompt": a.question.then or a.question.prompt, "reply": a.text}
        for a in answers
    ]
