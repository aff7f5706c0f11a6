"""Formulas in LaTeX by their meaning: fractions, roots, powers, names of signs."""

from __future__ import annotations

import re
from collections.abc import Callable

from tts.english.maths import power
from tts.english.numbers import fraction, number
from tts.english.word_lists import words
from tts.grammar import Rule

_LATEX_NAMES = {
    "times": "times",
    "cdot": "times",
    "ast": "times",
    "div": "divided by",
    "pm": "plus or minus",
    "mp": "minus or plus",
    "leq": "at most",
    "le": "at most",
    "geq": "at least",
    "ge": "at least",
    "lt": "less than",
    "gt": "greater than",
    "neq": "is not equal to",
    "ne": "is not equal to",
    "approx": "is about",
    "sim": "about",
    "equiv": "is identical to",
    "propto": "is proportional to",
    "infty": "infinity",
    "to": "to",
    "rightarrow": "to",
    "Rightarrow": "implies",
    "implies": "implies",
    "sum": "the sum of",
    "prod": "the product of",
    "int": "the integral of",
    "partial": "partial",
    "degree": "degrees",
    "circ": "degrees",
    "in": "in",
    "mid": "given",
    "ldots": "and so on",
    "dots": "and so on",
    "cdots": "and so on",
    "sin": "sine",
    "cos": "cosine",
    "tan": "tangent",
    "log": "log",
    "ln": "natural log",
    "lim": "the limit of",
}
_LATEX_SILENT = words(
    """
    left right quad qquad displaystyle begin end big Big bigg Bigg limits nonumber hline label
    """
)


def rules(inner: Callable[[str], str]) -> tuple[Rule, ...]:
    """The rules; ``inner`` says the text inside braces."""

    def latex_fraction(match: re.Match[str]) -> str:
        above, below = match["a"].strip(), match["b"].strip()
        if above.isdecimal() and below.isdecimal() and int(below) and int(above) < int(below):
            return fraction(int(above), int(below))
        return f"{inner(above)} over {inner(below)}"

    def root(match: re.Match[str]) -> str:
        degree = match["n"] or "2"
        name = {"2": "square root", "3": "cube root"}.get(degree) or f"root {inner(degree)}"
        return f"the {name} of {inner(match['a'])}"

    def group(match: re.Match[str]) -> str:
        return inner(match["a"])

    def raised(match: re.Match[str]) -> str:
        if match["a"].strip() in (r"\circ", "∘"):
            return "degrees"
        exponent = match["a"].strip()
        if re.fullmatch(r"[-−+]?\d+|[a-z]", exponent):
            return power(exponent)
        return f"to the power of {inner(exponent)}"

    def sub(match: re.Match[str]) -> str:
        return f"sub {inner(match['a'])}"

    def command(match: re.Match[str]) -> str:
        name = match["c"]
        if name in _LATEX_SILENT:
            return ""
        return _LATEX_NAMES.get(name, name)

    braces = r"\{(?P<a>(?:[^{}]|\{[^{}]*\})*)\}"
    return (
        Rule(
            r"\\[dt]?frac\s*\{(?P<a>(?:[^{}]|\{[^{}]*\})*)\}\s*\{(?P<b>(?:[^{}]|\{[^{}]*\})*)\}",
            latex_fraction,
            starts="s",
        ),
        Rule(rf"\\sqrt(?:\[(?P<n>[^\]]*)\])?\s*{braces}", root, starts="s"),
        Rule(
            rf"\\(?:text|textbf|textit|mathrm|mathbf|mathit|boxed|operatorname|overline|vec|hat)\s*{braces}",
            group,
            starts="s",
        ),
        Rule(rf"\^{braces}", raised, starts="s"),
        Rule(r"\^(?P<a>\\circ)(?![A-Za-z])", raised, starts="s"),
        Rule(
            rf"(?<=\w)_{braces}|(?<=[A-Za-z])_(?P<b>)",
            lambda m: sub(m) if m["a"] else None,
            starts="s",
        ),
        Rule(
            r"(?<![\w])(?P<base>[A-Za-z])_(?P<a>\d+)(?!\w)",
            lambda m: f"{m['base']} sub {number(m['a'])}",
            starts="l",
        ),
        Rule(r"\\(?P<c>[A-Za-z]+)\*?", command, starts="s"),
    )
