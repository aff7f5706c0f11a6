"""Checks of a request before anything is computed: options against the model, ids, lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.decode.denoise import resolve_policy
from dllm_core.errors import OptionError, PromptTooLongError

_READ_BY: dict[str, tuple[str, ...]] = {
    "threshold": ("threshold", "dynamic", "remask"),
    "factor": ("factor",),
    "entropy_bound": ("entropy_bound",),
    "remask_below": ("remask",),
    "steps": ("quota", "dynamic"),
    "timesteps": ("quota",),
    "rounds": ("draft",),
    "draft_rows": ("draft",),
    "draft_echo": ("draft",),
    "draft_ngrams": ("draft",),
}
"""Rules to which an option says something, for options that not all rules read."""

LEFT_TO_RIGHT = ("fixed_point", "draft")
"""Rules that write a reply token after token, as an autoregressive model does."""

_NOT_BY_FIXED_POINT = ("temperature", "top_p", "top_k", "seed")
_NOT_LEFT_TO_RIGHT = ("block_length", "confidence", "guidance", "eos_last")


def check_request(
    config: ModelConfig, context: int, ids: Sequence[int], options: DecodeOptions
) -> None:
    """Refuse requests that the engine cannot denoise.

    Raises:
        OptionError: the prompt is empty or has an id outside the vocabulary, or the options do not
            suit the model.
        PromptTooLongError: prompt and reply do not fit the context.
    """
    if not ids:
        raise OptionError("The prompt is empty: there is nothing to reply to.")
    check_ids(config, ids)
    check_model(config, options)
    if len(ids) > longest_prompt(config, context, options):
        raise PromptTooLongError(
            f"A prompt of {len(ids)} tokens and a reply of {options.max_tokens} do not fit "
            f"the context of {context}: shorten the history or load a larger context."
        )


def check_ids(config: ModelConfig, ids: Iterable[int | None]) -> None:
    """Refuse token ids outside the vocabulary.

    Raises:
        OptionError: there is one.
    """
    wrong = next((i for i in ids if i is not None and not 0 <= i < config.vocab_size), None)
    if wrong is not None:
        raise OptionError(
            f"The token id {wrong} lies outside the vocabulary of {config.vocab_size}: encode the "
            "prompt with this model's tokenizer."
        )


def check_options(config: ModelConfig, context: int, options: DecodeOptions) -> None:
    """Refuse options with which no prompt could be replied to.

    Raises:
        OptionError: they do not suit the model, or leave no room for a prompt.
    """
    check_model(config, options)
    room = longest_prompt(config, context, options)
    if room < 1:
        raise OptionError(
            f"A reply of {options.max_tokens} tokens leaves no room for a prompt in a context of "
            f"{context}: shorten it, or load a larger context."
        )


def check_model(config: ModelConfig, options: DecodeOptions) -> None:
    """Refuse options that do not suit the model.

    Raises:
        OptionError: the rule, the cache policy, the blocks or the layers are not possible.
    """
    rule, length = options.rule, options.block_length
    if rule not in (*LEFT_TO_RIGHT, "sequential") and config.mask_id is None:
        raise OptionError(
            f"The rule {rule} needs a model that was taught to denoise; this one has no mask "
            "token. Use fixed_point."
        )
    if rule in LEFT_TO_RIGHT and not config.autoregressive:
        raise OptionError(
            f"The rule {rule} needs causal attention and shifted logits: use quota or "
            "threshold for this model."
        )
    if rule == "fixed_point" and options.temperature:
        raise OptionError(
            "The rule fixed_point is greedy: temperature says nothing to it. Use sequential to "
            "sample token by token."
        )
    if rule in LEFT_TO_RIGHT and options.guidance:
        raise OptionError(f"guidance says nothing to the rule {rule}: leave it out.")
    if config.by_blocks and length is not None and config.block_length % length:
        raise OptionError(
            f"block_length is {length}, but this model was trained on blocks of "
            f"{config.block_length}: give a divisor of that, or leave it out."
        )
    resolve_policy(config, options.cache)
    layers = options.canvas_layers or ()
    if any(not 0 <= layer < config.num_layers for layer in layers):
        raise OptionError(f"canvas_layers names layers beyond the model's {config.num_layers}.")
    check_ids(config, options.banned)


def is_used(name: str, rule: str) -> bool:
    """Whether the option says something to the rule."""
    rules = _READ_BY.get(name)
    silent = rule == "fixed_point" and name in _NOT_BY_FIXED_POINT
    silent = silent or (rule in LEFT_TO_RIGHT and name in _NOT_LEFT_TO_RIGHT)
    return not silent and (rules is None or rule in rules)


def check_used(options: DecodeOptions, given: Iterable[str]) -> None:
    """Refuse options that were given and say nothing to the rule.

    Raises:
        OptionError: there is one; the message has the rules that read it.
    """
    for name in given:
        if is_used(name, options.rule):
            continue
        rules = _READ_BY.get(name)
        if rules is None:
            raise OptionError(f"{name} says nothing to the rule {options.rule}: leave it out.")
        raise OptionError(
            f"{name} says nothing to the rule {options.rule}: leave it out, or use the rule "
            f"{' or '.join(rules)}."
        )


def longest_prompt(config: ModelConfig, context: int, options: DecodeOptions) -> int:
    """Most tokens of a prompt whose reply fits the context; may be negative."""
    if options.rule == "fixed_point":
        # The canvas slides until it begins with the last token of the longest reply.
        return context - options.max_tokens - options.canvas_length + 2
    if options.rule == "draft":
        return context - options.max_tokens - 1
    whole = config.by_blocks and not config.pads_prompts
    return (config.block_start(context) if whole else context) - options.max_tokens
