"""Quality of an adapted model's replies at few steps, beside the greedy ones of its base."""

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
"""Called with lines of progress."""
ONE_PER_STEP = "one_per_step"
"""In place of a number of steps: one position per step."""
STEPS: tuple[int | str, ...] = (4, 8, 16, 32, ONE_PER_STEP)


@dataclass(frozen=True, slots=True)
class EvaluatedReply:
    """One reply and its measurements.

    Attributes:
        question: the question.
        text: text of the reply.
        ended: reason for its end, as in `ReplyStats`.
        nll: mean negative log-likelihood of its tokens under the base, in nats; None if empty.
        tokens: number of tokens before the end of the reply.
        ms: milliseconds of denoising the whole reply behind a cached prompt.
    """

    question: HeldOutQuestion
    text: str
    ended: str
    nll: float | None
    tokens: int
    ms: float


def is_right(text: str, answers: Sequence[str]) -> bool:
    """Whether the reply contains an accepted answer as words of its own, plural included."""
    words = plain(text)
    wanted = "|".join(re.escape(plain(answer)) for answer in answers)
    return re.search(rf"(?<!\w)(?:{wanted})(?:'?s|es)?(?!\w)", words) is not None


def is_degenerate(text: str) -> bool:
    """Whether a reply is empty or repeats itself."""
    return not plain(text) or loops(text)


def ends_properly(answer: EvaluatedReply) -> bool:
    """Whether the model ended the reply itself, after a whole sentence."""
    return answer.ended == "eos" and ends_sentence(answer.text)


def summary(k: int | str, answers: Sequence[EvaluatedReply], reference_nll: float) -> Row:
    """Row of figures for one number of steps `k`: shares between 0 and 1, the median `ms`."""
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
    """Mean negative log-likelihood per token over all replies, in nats; NaN without tokens."""
    scored = [(a.nll * a.tokens, a.tokens) for a in answers if a.nll is not None]
    tokens = sum(count for _, count in scored)
    return sum(nll for nll, _ in scored) / tokens if tokens else math.nan


def _share(flags: Sequence[bool]) -> float | None:
    return round(sum(flags) / len(flags), 4) if flags else None


class Evaluation:
    """Evaluation against a base, whose replies are the reference and open the dialogues."""

    def __init__(
        self,
        base: Engine,
        questions: Sequence[HeldOutQuestion],
        *,
        system: str,
        max_tokens: int = 32,
        tell: Tell = lambda what: None,
    ) -> None:
        """Let the base answer all questions; `base` is the model before its adaptation."""
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
        """Row of the base, greedy and token by token."""
        return summary("ar", self.reference, mean_nll(self.reference))

    def rows(self, adapted: Engine, steps: Sequence[int | str] = STEPS) -> Iterator[Row]:
        """One row for each number of steps, on a canvas of the model's own length."""
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
    """Rows with the replies' texts, for reading."""
    return [
        {"kind": a.question.kind, "prompt": a.question.then or a.question.prompt, "reply": a.text}
        for a in answers
    ]
