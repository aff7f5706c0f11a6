"""Training data in the base model's own words: its replies to many prompts.

A student that learns from its teacher's replies keeps its language and learns only to write in
parallel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from dllm_core.adapt.generate import replies, trajectories
from dllm_core.adapt.network import Network
from dllm_core.model.tokenizer import Tokenizer

_ENDS = re.compile(r"[.!?…][\"'”’)\]]*$")
_MARKUP = re.compile(r"[*#`|<>\[\]{}]|https?:|^\s*(?:[-•]|\d+[.)])\s", re.MULTILINE)
_LOOP_WORDS = 4
"""Words of a run that counts as a loop when it occurs twice; shorter ones may be style."""


def ends_sentence(text: str) -> bool:
    """Whether the text ends with the mark of a whole sentence."""
    return bool(_ENDS.search(text.strip()))


def loops(text: str) -> bool:
    """Whether words repeat as in a stuck model: a word three times in a row, or a run of four words
    twice."""
    words = text.lower().split()
    if any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False)):
        return True
    runs = zip(*(words[i:] for i in range(_LOOP_WORDS)), strict=False)
    return any(count > 1 for count in Counter(runs).values())


def speakable(text: str) -> bool:
    """Whether a reply is fit for training: whole sentences without lists, markup or loops."""
    text = text.strip()
    plain = "\n" not in text and not _MARKUP.search(text)
    return bool(text) and plain and ends_sentence(text) and not loops(text)


def spellings(prompt: str) -> list[str]:
    """Spellings of a prompt: bare lower-case words, and with Whisper's case and punctuation."""
    bare = re.sub(r"[^\w\s']", "", prompt.lower()).strip()
    if not bare:
        return []
    text = prompt.strip()
    asks = re.match(
        r"(what|who|whose|where|when|why|how|which|is|are|am|can|could|do|does|did|will|would)\b",
        bare,
    )
    written = text[0].upper() + text[1:]
    written = re.sub(r"\bi\b", "I", written)
    if written[-1].isalnum():
        written += "?" if asks else "."
    return [bare, written]


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions:
    """Options of making data.

    Attributes:
        system: instructions before every prompt.
        batch: prompts that are answered together.
        max_tokens: longest reply that is kept.
        samples: replies drawn for each prompt, of which the most probable is kept; 1 is greedy.
        temperature: temperature of drawn replies.
        seconds: time limit of one run.
    """

    system: str
    batch: int = 256
    max_tokens: int = 40
    samples: int = 1
    temperature: float = 0.7
    seconds: float | None = None


Progress = Callable[[int, int, int], None]
"""Called with prompts done, all prompts, and replies kept."""


def distill(
    network: Network,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    options: DistillOptions,
    tell: Progress = lambda done, total, kept: None,
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Answer prompts batch by batch, until all are done or the time is up.

    Yields:
        The number of prompts done so far, and the new rows: prompt, reply and system.
    """
    begin, kept = monotonic(), 0
    # Prompts of like length share a batch, so that little of it is padding.
    order = sorted(prompts, key=len)
    for start in range(0, len(order), options.batch):
        # One batch at least, so that calling again always makes progress.
        if start and options.seconds is not None and monotonic() - begin > options.seconds:
            return
        chosen = order[start : start + options.batch]
        rows = _reply(network, tokenizer, chosen, options, start)
        kept += len(rows)
        tell(start + len(chosen), len(order), kept)
        yield start + len(chosen), rows


def _reply(
    network: Network,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    options: DistillOptions,
    seed: int,
) -> list[dict[str, Any]]:
    ids = [tokenizer.encode_chat([("system", options.system), ("user", p)]) for p in prompts]
    best: dict[int, tuple[float, str]] = {}
    for sample in range(options.samples):
        made = replies(
            network,
            ids,
            # One token more than is kept: a reply of full length was cut.
            max_tokens=options.max_tokens + 1,
            temperature=0.0 if options.samples == 1 else options.temperature,
            seed=seed * options.samples + sample,
        )
        for i, (reply, score) in enumerate(made):
            text = tokenizer.decode(reply).strip()
            whole = len(reply) <= options.max_tokens and speakable(text)
            if whole and (i not in best or score > best[i][0]):
                best[i] = (score, text)
    return [
        {"prompt": prompts[i], "reply": text, "system": options.system}
        for i, (_, text) in sorted(best.items())
    ]


def record(
    network: Network,
    prompts: Sequence[Sequence[int]],
    *,
    canvas: int,
    batch: int,
    seconds: float | None,
    tell: Progress = lambda done, total, kept: None,
) -> Iterator[list[dict[str, Any]]]:
    """Record trajectories of an adapted model, until all prompts are done or the time is up.

    Yields:
        Rows of one batch: prompt_ids, reply_ids, and order, the step of each position.
    """
    begin = monotonic()
    order = sorted(prompts, key=len)
    for start in range(0, len(order), batch):
        if start and seconds is not None and monotonic() - begin > seconds:
            return
        chosen = order[start : start + batch]
        made = trajectories(network, chosen, canvas=canvas)
        tell(start + len(chosen), len(order), start + len(chosen))
        yield [{"prompt_ids": e.prompt, "reply_ids": e.reply, "order": e.order} for e in made]
