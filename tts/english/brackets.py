"""Brackets and bars of arithmetic, which decide on the value: "(3 + 4) × 2", "2^(3+1)", "|x|"."""

from __future__ import annotations

import re

from tts.grammar import Rule

_REACH = 80
"""Characters between a bracket and its partner, at most."""
_OPERAND = r"(?:[\d√π.(]|[-−]\d|[a-z](?![A-Za-z]))"
_OPERATION = re.compile(
    rf"[)\w²³π!%]\s?[+×*·⋅÷/^±−]\s?{_OPERAND}|\d\s?[-–]\s?{_OPERAND}|[a-z)]\s?-\s?\d|\w\s-\s{_OPERAND}"
    rf"|\d\s?x\s?\d|\\(?:pm|times|cdot|div)|[a-z]?[²³^]"
)
_SIGNED = re.compile(r"\s*[-−]\s?(?:\d+(?:[.,]\d+)?|[a-z])\s*")
_WORD = re.compile(r"(?<!\\)[A-Za-z]{3,}")
_MATHS_WORDS = ("sin", "cos", "tan", "log", "sqrt", "exp", "mod")
_JOINED_BEFORE = re.compile(r"(?:[-−+×*·⋅÷/^√]\s?|\d\s?x\s?|(?<![A-Za-z\d])[A-Za-z]|[\d)²³π])$")
_JOINED_AFTER = re.compile(
    rf"\s?[×*·⋅÷/+−±]\s?{_OPERAND}|\s-\s{_OPERAND}|-\d|\s?\^|[²³⁰¹⁴-⁹ⁿ!]|\(|\sx\s\d"
)
_POWER_AFTER = re.compile(r"\s?\^|\s?\*\*|[²³⁰¹⁴-⁹ⁿ!]")


def _partner(text: str, place: int) -> int | None:
    """The place of the other bracket of a pair in the same line."""
    step = 1 if text[place] == "(" else -1
    depth = 0
    stop = place + step * _REACH
    while 0 <= place < len(text) and place != stop and text[place] != "\n":
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
        place += step
    return None


def decides(text: str, place: int) -> bool:
    """Whether a bracket groups an operation that another operation is applied to."""
    other = _partner(text, place)
    if other is None:
        return False
    start, end = sorted((place, other))
    inside, before = text[start + 1 : end], text[max(0, start - 4) : start]
    if any(word not in _MATHS_WORDS for word in _WORD.findall(inside)):
        return False
    if _SIGNED.fullmatch(inside):
        return _POWER_AFTER.match(text, end + 1) is not None
    if _OPERATION.search(inside) is None:
        return False
    return bool(_JOINED_BEFORE.search(before) or _JOINED_AFTER.match(text, end + 1))


def _bracket(match: re.Match[str]) -> str | None:
    if not decides(match.string, match.start()):
        return None
    if match.group() == ")":
        return "close parenthesis"
    product = re.search(r"(?<![A-Za-z])\d$|\)$", match.string[: match.start()])
    return "times open parenthesis" if product else "open parenthesis"


def grouped(said: str, written: str) -> str:
    """A part of a formula in LaTeX, such as a numerator; a sum is set in brackets."""
    bare = re.sub(r"\{[^{}]*\}|\([^()]*\)", "", written.strip()).lstrip("-−+")
    if re.search(r"[-−+±]|\\pm", bare):
        return f"open parenthesis {said} close parenthesis"
    return said


_TERM = r"(?:\d+(?:\.\d+)?|[a-z])"
RULES = (
    Rule(r"[()]", _bracket, starts="s"),
    Rule(
        r"(?<![\w)])[-−](?=\()",
        lambda m: "minus" if decides(m.string, m.end()) else None,
        starts="s",
    ),
    Rule(r"\s?(?:\^+|\*\*)(?=\()", lambda m: "to the power of", starts="s"),
    Rule(
        rf"(?<!\w)\|(?=[-−]?{_TERM}(?:\s?[-−+*/×⋅]\s?{_TERM})*\|(?:\s?[-−+*/×÷⋅=<>≤≥≈^).,;?!]|\s?$|\sis\b))",
        lambda m: "the absolute value of",
        starts="s",
    ),
    Rule(r"(?<!\w)log_?(?P<n>10|2)(?:\((?=[\w√π.−-])|(?=\s\d))", lambda m: _log(m), starts="l"),
)


def _log(match: re.Match[str]) -> str:
    return f"log base {'ten' if match['n'] == '10' else 'two'} of"
