"""What is written beside the words and is not said: tags, comments, tokens of models, emoticons."""

from __future__ import annotations

import re

from tts.grammar import Rule

_TAG = r"</?[A-Za-z][\w-]*(?:\s+[\w:-]+(?:=(?:\"[^\"]*\"|'[^']*'|[^\s>]+))?)*\s*/?>"
_COMMENT = r"<!--.{0,400}?-->"
_TOKEN = r"<\|[A-Za-z][\w ]{0,40}\|>"
"""A special token of a language model that its service let through, such as ``<|im_end|>``."""
_EYES_AND_MOUTH = r"(?<![\w:;])[:;]['’]?-?(?:[)(\[\]|*](?!\w)|[DPpOo3](?![\w)]))"
"""From the left to the right: ":-)", ";)", ":'(", ":D"."""
_EYES_ALONE = r"(?<!\S)(?:\^_*\^|[xX]D|[oO]_[oO]|T_T|-_-)(?!\w)"
_HEART = (
    r"(?:(?<=[A-Za-z]{2}\s)|(?<=\bI\s)|(?<=[.!?]\s)|^)<3(?=\s(?:you|u|it|this|that)\b|[\s.!]*$)"
)
"""Behind a word; "x <3" is a comparison."""


def _nothing(match: re.Match[str]) -> str:
    return ""


RULES = (
    Rule(_TAG, _nothing, starts="s"),
    Rule(_COMMENT, _nothing, starts="s"),
    Rule(_TOKEN, _nothing, starts="s"),
    Rule(_EYES_AND_MOUTH, _nothing, starts="s"),
    Rule(_EYES_ALONE, _nothing, starts="ls"),
    Rule(_HEART, _nothing, starts="s"),
)
