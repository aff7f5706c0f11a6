"""Any causal language model of transformers, greedily decoded, its prompt kept between turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from agent.responders.base import (
    CanvasStep,
    Message,
    Prefilled,
    ReplyDone,
    ReplyPiece,
    ReplyText,
    ResponderError,
)
from agent.responders.transformers_parts import TokenCache, chat_ids, place_of
from dllm_core.decode.reply_text import ReplyDetokenizer
from dllm_core.model.tokenizer import Tokenizer


class CausalResponder:
    """A loaded model, shared by all calls; each call owns its keys and values.

    Args:
        source: a directory or a Hugging Face name. No code of a checkpoint is run.
        context: longest prompt plus reply, in tokens; bounds the memory of a call.

    The other arguments and errors are those of `AutoregressiveResponder`.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        max_tokens: int = 64,
        context: int = 2048,
        progress: Callable[[float, str], None] | None = None,
    ) -> None:
        place, number_format = place_of(dtype, device)
        if threads is not None:
            torch.set_num_threads(threads)
        if progress is not None:
            progress(0.0, f"loading {source}")
        self.model, self._tokenizer = _load(source, number_format)
        self.model.to(place)
        self.max_tokens = max_tokens
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", context)
        self.context = min(context, longest)
        self.plain = Tokenizer(self._tokenizer.backend_tokenizer, None, {})
        ends = self.model.generation_config.eos_token_id
        ends = self._tokenizer.eos_token_id if ends is None else ends
        self.eos_ids = frozenset([ends] if isinstance(ends, int) else ends)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Prompt ids, ending where the reply begins.

        Raises:
            ResponderError: the chat template refuses, or prompt and reply exceed the context.
        """
        ids = chat_ids(self._tokenizer, self.plain, messages)
        if not ids or len(ids) + self.max_tokens > self.context:
            raise ResponderError(
                f"A prompt of {len(ids)} tokens and a reply of {self.max_tokens} do not fit the "
                f"context of {self.context}: shorten the history."
            )
        return ids

    def open(self) -> CausalCall:
        return CausalCall(self)

    def warm_up(self) -> None:
        """Run a prompt and one step, so that no caller pays for the first of each."""
        cache = CausalCache(self.model)
        token = min(self.eos_ids)
        cache.read([token] * 8)
        cache.next(token)

    def close(self) -> None:
        """Nothing to release: the weights go with the last reference."""


class CausalCache(TokenCache):
    """The prompt cache of one call."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model
        # Without the model's configuration every layer keeps all positions, those that have left
        # a sliding window, too, so that a prompt can be cut back to any length.
        make_cache: Any = DynamicCache
        self._cache = make_cache()

    def _crop(self, length: int) -> None:
        self._cache.crop(length - len(self.ids))  # negative: so many tokens are removed

    def next(self, token: int) -> tuple[int, float]:
        """Read one token; returns the likeliest to follow, and its probability."""
        probability, best = self._append([token]).softmax(-1).max(-1)
        return int(best), float(probability)

    @torch.inference_mode()
    def _append(self, ids: Sequence[int]) -> torch.Tensor:
        """Logits (vocabulary,) in float32 after the last of ``ids``."""
        tokens = torch.tensor([list(ids)], device=self._model.device)
        done = self._model(
            input_ids=tokens, past_key_values=self._cache, use_cache=True, logits_to_keep=1
        )
        self.ids += ids
        logits: torch.Tensor = done.logits[0, -1].float()
        return logits

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the keys and values take."""
        layers = [layer for layer in self._cache.layers if layer.is_initialized]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)


class CausalCall:
    """One call: its keys and values, filled while the caller speaks and kept between turns."""

    def __init__(self, responder: CausalResponder) -> None:
        self._responder = responder
        self._cache = CausalCache(responder.model)

    def prepare(self, messages: Sequence[Message]) -> Prefilled:
        return self._cache.read(self._responder.encode_chat(messages))

    def reply(
        self, messages: Sequence[Message], deadline: float | None = None
    ) -> Iterator[ReplyPiece]:
        """See `ResponderCall.reply`; a deadline changes nothing, for every token takes one pass."""
        owner = self._responder
        ids = owner.encode_chat(messages)
        # The last token is left to the first step, which needs its logits.
        prefilled = self._cache.read(ids[:-1])
        yield prefilled
        begin, token, ended = perf_counter(), ids[-1], False
        speakable, words, sure = ReplyDetokenizer(owner.plain), list[str](), list[float]()
        while not ended and len(words) < owner.max_tokens:
            mark = perf_counter()
            token, probability = self._cache.next(token)
            ended = token in owner.eos_ids
            words.append("" if ended else owner.plain.decode([token]))
            sure.append(probability)
            milliseconds = (perf_counter() - mark) * 1e3
            nothing_masked = (False,) * len(words)
            yield CanvasStep(
                len(words), None, tuple(words), nothing_masked, tuple(sure), milliseconds
            )
            if not ended and (text := speakable.push([token])):
                yield ReplyText(text)
        rest, ending = speakable.finish(complete=ended)
        if rest:
            yield ReplyText(rest)
        stats = {
            "tokens": len(words),
            "tokens_per_forward": 1.0,
            "cached_tokens": prefilled.cached_tokens,
            "new_tokens": prefilled.new_tokens,
            "cache_bytes": self._cache.nbytes,
            "cut": float(ending != "eos"),
        }
        took = (perf_counter() - begin) * 1e3
        yield ReplyDone(speakable.text, len(words), len(words), prefilled.ms, took, stats)

    def close(self) -> None:
        self._cache = CausalCache(self._responder.model)


def _load(source: str | Path, number_format: torch.dtype) -> tuple[Any, Any]:
    """The model in evaluation mode and its tokenizer.

    Raises:
        ResponderError: they are missing, not causal, or cannot be cut back or formatted.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=number_format)
    except (OSError, ValueError) as error:
        raise ResponderError(
            f"No causal language model can be loaded from {source}: {error} Give a directory or a "
            "Hugging Face name that AutoModelForCausalLM reads, or a GGUF file."
        ) from error
    if getattr(model, "_is_stateful", False):
        raise ResponderError(
            f"{source} keeps a state that cannot be cut back to an earlier prompt (a recurrent "
            "layer): use a model of attention layers, or serve it and use the responder hosted."
        )
    if not getattr(tokenizer, "is_fast", False) or tokenizer.chat_template is None:
        raise ResponderError(
            f"{source} lacks a fast tokenizer or a chat template: use a model tuned for chat."
        )
    return model.eval(), tokenizer
