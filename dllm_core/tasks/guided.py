"""Guided acceptance: an autoregressive model accepts what a diffusion model drafts.

FlashDLM's guided diffusion (arXiv 2505.21467): every round the diffusion model denoises a draft,
the autoregressive one reads it in a single pass, keeps the longest prefix it agrees with and
writes its own token behind it. Where it must agree fully, the reply is its greedy one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from dllm_core.config import DecodeOptions
from dllm_core.decode.denoise import Forward, finished_before, run
from dllm_core.decode.reply_text import ReplyDetokenizer
from dllm_core.decode.stats import Ending
from dllm_core.decode.unmask import accepted_prefix
from dllm_core.engine import Engine
from dllm_core.errors import OptionError
from dllm_core.model.cache import PromptCache
from dllm_core.model.transformer import Span, visibility


@dataclass(frozen=True, slots=True)
class DraftRound:
    """One draft and the tokens that are final after it.

    Attributes:
        ids: tokens that are final with this round: the accepted prefix and the judge's own token.
        text: text that may be spoken with this round; the texts of all rounds concatenate to the
            reply.
        drafted: length of the draft, in tokens.
        accepted: length of its accepted prefix, in tokens.
        ended: how the reply ended, on the last round; else None.
    """

    ids: tuple[int, ...]
    text: str
    drafted: int
    accepted: int
    ended: Ending | None


class Guided:
    """A judge, which writes the reply, and a drafter, which proposes its next tokens.

    Args:
        judge: an autoregressive engine (causal attention, shifted logits).
        drafter: an engine of a diffusion model of the same vocabulary.
        draft: how a draft is denoised; `canvas_length` is its length. By default 8 positions
            in one step, as FlashDLM takes all of the drafter's first guesses.
        relative: 1 accepts only the judge's best token. Below it, its second best is accepted
            too if it has at least this share of the best one's probability (FlashDLM: 0.5).

    Raises:
        OptionError: the engines do not suit their parts, or their vocabularies differ.
    """

    def __init__(
        self,
        judge: Engine,
        drafter: Engine,
        draft: DecodeOptions | None = None,
        *,
        relative: float = 1.0,
    ) -> None:
        if not judge.config.autoregressive:
            raise OptionError("The judge must have causal attention and shifted logits.")
        if drafter.config.mask_id is None:
            raise OptionError("The drafter has no mask token: it was not taught to denoise.")
        if not 0 < relative <= 1:
            raise OptionError(f"relative must lie in (0, 1], not {relative}.")
        _check_vocabularies(judge, drafter)
        self.judge, self.drafter, self.relative = judge, drafter, relative
        self.draft = draft or DecodeOptions(rule="quota", canvas_length=8, steps=1)

    def iterate(self, ids: Sequence[int], max_tokens: int = 64) -> Iterator[DraftRound]:
        """Reply to the prompt `ids` round by round, in at most `max_tokens` tokens.

        Raises:
            OptionError: the prompt is empty.
            PromptTooLongError: prompt and reply do not fit the context of one of the engines.
        """
        room = DecodeOptions(max_tokens=max_tokens, canvas_length=self.draft.canvas_length + 1)
        cache, drafts = self.judge.contiguous_cache(), self.drafter.contiguous_cache()
        self.judge.read(ids, cache, room)
        return self._rounds(list(ids), max_tokens, cache, drafts)

    def _rounds(
        self, ids: list[int], max_tokens: int, cache: PromptCache, drafts: PromptCache
    ) -> Iterator[DraftRound]:
        reply = ReplyDetokenizer(self.judge.tokenizer)
        left, ended = max_tokens, None
        while ended is None:
            draft = self._drafted(ids, min(left, self.draft.canvas_length), drafts)
            accepted, own = self._judged(ids[-1], draft, cache)
            new = [*draft[:accepted], own][:left]
            end = finished_before(new, self.judge.config.eos_ids)
            complete = end < len(new)
            text = reply.push(new[:end])
            ids += new
            left -= len(new)
            if complete or left == 0:
                rest, ended = reply.finish(complete=complete)
                text += rest
            yield DraftRound(tuple(new[:end]), text, len(draft), min(accepted, end), ended)

    def _drafted(self, ids: Sequence[int], length: int, cache: PromptCache) -> list[int]:
        options = replace(self.draft, canvas_length=length, max_tokens=length)
        reply = self.drafter.reply(ids, cache, options)
        draft = [*reply.ids, *(self.judge.config.eos_ids[:1] if reply.stats.ended == "eos" else ())]
        # A vocabulary may be padded to a round number; the judge has no embedding beyond its own.
        known = (token < self.judge.config.vocab_size for token in draft)
        return draft[: next((i for i, inside in enumerate(known) if not inside), len(draft))]

    @torch.inference_mode()
    def _judged(self, last: int, draft: Sequence[int], cache: PromptCache) -> tuple[int, int]:
        """(length of the accepted prefix of the draft, the judge's own token behind it)."""
        config, device = self.judge.config, self.judge.device
        start, rows = len(cache), 1 + len(draft)
        cache.reserve(rows)
        mask = visibility(config, start, rows, start + rows)
        mask = None if mask is None else mask.to(device)
        tokens = torch.tensor([last, *draft], device=device)
        span = Span(cache.store, start, rows, start + rows, mask)
        forward = Forward(tokens, (span,), torch.arange(rows, device=device))
        logits = run(self.judge.model, forward)
        accepted = accepted_prefix(tokens[1:], logits[:-1], self.relative)
        cache.commit([last, *draft[:accepted]])
        return accepted, int(logits[accepted].argmax())


def _check_vocabularies(judge: Engine, drafter: Engine) -> None:
    """Refuse vocabularies that differ in more than the drafter's mask token."""
    ours, theirs = (set(e.tokenizer.backend.get_vocab().items()) for e in (judge, drafter))
    differing = [token for token, i in ours ^ theirs if i != drafter.config.mask_id]
    differing += [token for token, i in ours - theirs if i == drafter.config.mask_id]
    if differing:
        raise OptionError(
            f"Judge and drafter number {len(differing)} tokens differently: a draft can only be "
            "judged token by token. Take a drafter made from a model of the judge's family."
        )
