"""Arithmetic, powers, roots and fractions by their meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tts.english.calendar import ends_sentence
from tts.english.numbers import (
    END,
    NUM,
    SIGN,
    VULGAR_SIGN,
    cardinal,
    fraction,
    letters,
    mixed,
    number,
    split_number,
    vulgar,
)
from tts.english.units import UNIT, UNITS, per
from tts.grammar import Part, Rule

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUPERSCRIPT = r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+"
_POWER = (
    rf"(?:\s?(?:\^+|\*\*)\s?\{{?(?P<e>[-−+]?(?:\d+(?:\.\d+)?|[a-z]\b))\}}?|(?P<s>{_SUPERSCRIPT}))"
)
_TIMES = r"\s?[x×*·⋅]\s?"
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_UNIT_AFTER = re.compile(rf"\s?(?P<unit>{UNIT})(?![\w/])")
_RELATION = re.compile(r"\s*(?:=|≈|≠|<|>|is\b|are\b|equals\b|gives\b|makes\b|leaves\b|$|[.,;?!)])")
_OPERATOR = re.compile(r"\s*[-−+×*÷/=<>≤≥≈^]\s?")


def power(exponent: str) -> str:
    """An exponent: "squared", "cubed", "to the power of minus three"."""
    exponent = exponent.translate(_SUPERSCRIPTS)
    if exponent in ("2", "3"):
        return {"2": "squared", "3": "cubed"}[exponent]
    return f"to the power of {exponent if exponent.isalpha() else number(exponent)}"


def _base(text: str) -> str:
    if re.fullmatch(rf"{SIGN}{NUM}", text):
        return number(text)
    return letters(text) if text.isalpha() and len(text) <= 2 and text != "pi" else text


def _powered(match: re.Match[str]) -> str | Sequence[Part]:
    """Say "2^10", "x²", "10⁻³"."""
    said = f"{_base(match['base'])} {power(match['e'] or match['s'])}"
    return _with_unit(match, said, many=True) if match["base"][-1].isdecimal() else said


def _scientific(match: re.Match[str]) -> str:
    """Say "6.02e23", "3×10^8"."""
    exponent = match["x"] or match["e"] or match["s"]
    raised = (
        power(exponent)
        if exponent not in ("2", "3", "²", "³")
        else f"to the power of {number(exponent.translate(_SUPERSCRIPTS))}"
    )
    unit = f" {UNITS[match['unit']].many}{_rate(match['per'])}" if match["unit"] else ""
    return f"{number(match['n'])} times ten {raised}{unit}"


def _rate(text: str | None) -> str:
    return f" per {per(text[1:])}" if text else ""


def _with_unit(match: re.Match[str], said: str, *, many: bool) -> str | Sequence[Part]:
    """A number and the unit after it: "one half teaspoon"."""
    found = _UNIT_AFTER.match(match.string, match.end())
    if found is None:
        return said
    unit = found["unit"]
    stop = "." if unit.endswith(".") and ends_sentence(match.string, found.end()) else ""
    return [Part(f"{said} {UNITS[unit].form(not many)}{stop}", found.end())]


def _equation(match: re.Match[str]) -> bool:
    """Whether an equals sign or operator stands right beside a match."""
    before = match.string[: match.start()]
    return (
        re.search(r"[-−+×*÷=<>≈]\s?$", before) is not None
        or _OPERATOR.match(match.string, match.end()) is not None
    )


def _fraction(match: re.Match[str]) -> str | Sequence[Part] | None:
    """Say "3/4", "22/7"; "24/7" and "9/11" have names of their own; "6/2 = 3" is a division."""
    above, below = int(match["a"]), int(match["b"])
    if re.match(r"\s?mmHg", match.string[match.end() :]):
        return None
    sign = {"-": "minus ", "−": "minus "}.get(match["sign"], "")
    if above == below and above in (5, 10, 100) and not _equation(match):
        return f"{cardinal(above)} out of {cardinal(below)}"
    if match.group() in ("24/7", "9/11", "7/7", "50/50", "20/20", "4/4"):
        return f"{cardinal(above)} {cardinal(below)}"
    if below == 0 or (above >= below and _equation(match)):
        return f"{sign}{cardinal(above)} divided by {cardinal(below)}"
    if above == 0:
        return f"zero over {cardinal(below)}"
    return _with_unit(match, sign + fraction(above, below), many=False)


def _mixed(match: re.Match[str]) -> str | Sequence[Part] | None:
    """Say "1 1/2", "2½", "2 ½"."""
    if match["v"]:
        return _with_unit(match, mixed(match["sign"] + match["n"], vulgar(match["v"])), many=True)
    above, below = int(match["a"]), int(match["b"])
    if not 0 < above < below:
        return None
    return _with_unit(match, mixed(match["sign"] + match["n"], fraction(above, below)), many=True)


def _minus(match: re.Match[str]) -> str | None:
    """Say "10 - 3 = 7", "100 - 25", "a - b", "7 - 10 = -3", "10-3=7"."""
    first, second = match["a"], match["b"]
    end = match.end("b") if match["b"] else match.end()
    follows = _RELATION.match(match.string, end)
    equation = re.match(r"\s*[=+×*÷]|\s*[-−]\s?\d+\s*=", match.string[end:]) or re.search(
        r"[=+×*÷(]\s*$", match.string[: match.start()]
    )
    spaced = " " in match["op"]
    numeric = first[-1].isdecimal() and second.isdecimal()
    if not numeric and not spaced and not equation and "−" not in match["op"]:
        return None
    descending = numeric and _value(first) > _value(second)
    if (
        numeric
        and not equation
        and not (spaced and descending and follows)
        and "−" not in match["op"]
    ):
        return None
    return f"{_base(first)} minus"


def _minus_between(match: re.Match[str]) -> str | None:
    """A minus after a power or a bracket, in a text that holds other signs of arithmetic."""
    around = match.string[max(0, match.start() - 40) : match.end() + 40]
    return "minus" if re.search(r"[=+×÷^²³√]", around) else None


def _value(text: str) -> float:
    whole, decimals = split_number(text)
    return float(f"{whole}.{decimals or 0}")


def _factorial(match: re.Match[str]) -> str:
    return f"{number(match['n'])} factorial"


def _applied(match: re.Match[str]) -> str:
    """Say "f(x)"."""
    inside = match["x"]
    return f"{match['f']} of {number(inside) if inside.isdecimal() else inside}"


_FUNCTIONS = {
    "log": "log",
    "ln": "natural log",
    "sin": "sine",
    "cos": "cosine",
    "tan": "tangent",
    "sqrt": "the square root",
    "exp": "the exponential",
}


def _function(match: re.Match[str]) -> str:
    """Say "sin(90°)"."""
    return f"{_FUNCTIONS[match['f']]} of"


def _out_of(match: re.Match[str]) -> str | None:
    """Say "4.5/5", "8/10 stars": marks out of a number."""
    marked = re.match(r"\s(?:stars?|points?|rating|score|marks?)\b", match.string[match.end() :])
    if "." not in match["a"] and not marked:
        return None
    return f"{number(match['a'])} out of {number(match['b'])}"


def _relation(match: re.Match[str]) -> str:
    """Say ">90%", "<5", "≥ 2": with nothing before it, it compares."""
    name = {">": "more than", "<": "less than", ">=": "at least", "<=": "at most"}[match["r"]]
    return name


def _symbols(match: re.Match[str]) -> str:
    return {
        "!=": "is not equal to",
        "<=": "at most",
        ">=": "at least",
        "==": "equals",
        "+/-": "plus or minus",
        "&&": "and",
    }[match.group()]


def _arrow(match: re.Match[str]) -> str:
    return "to"


def _times_faster(match: re.Match[str]) -> str:
    return f"{number(match['n'])} times"


def _formula(match: re.Match[str]) -> str | None:
    """Say "H₂O", "x₁"."""
    return " ".join(
        number(piece.translate(_SUBSCRIPTS)) if piece[0] in "₀₁₂₃₄₅₆₇₈₉" else letters(piece)
        for piece in re.findall(r"[A-Z]?[a-z]?(?=[₀-₉])|[₀-₉]+|[A-Za-z]+", match.group())
        if piece
    )


_OPERAND_BEFORE = r"(?<=[\d)\]²³¹⁰⁴-⁹ⁿA-Za-z½¼¾%])"
RULES = (
    Rule(
        rf"(?P<n>{SIGN}{NUM})(?:{_TIMES}10(?:\s?(?:\^|\*\*)\s?\{{?(?P<e>[-−+]?\d+)\}}?|(?P<s>{_SUPERSCRIPT}))"
        rf"|[eE](?P<x>[-−+]?\d{{1,3}}){END})"
        rf"(?:\s(?P<unit>{UNIT})(?P<per>/(?:{UNIT})(?:²|\^2)?)?(?![\w/]))?",
        _scientific,
        starts="ds",
    ),
    Rule(
        rf"(?P<sign>{SIGN})(?P<n>\d{{1,4}})(?:\s?(?P<v>{VULGAR_SIGN})|[\s-](?P<a>\d{{1,2}})[/⁄](?P<b>\d{{1,2}})(?![\w/]))",
        _mixed,
        starts="ds",
    ),
    Rule(rf"(?P<base>{SIGN}{NUM}){_POWER}", _powered, starts="ds"),
    Rule(rf"(?<![A-Za-z])(?P<base>[A-Za-z]{{1,2}}|pi){_POWER}", _powered, starts="l"),
    Rule(rf"(?<=[)\]πα-ω]){_POWER}(?P<base>)", lambda m: power(m["e"] or m["s"]), starts="s"),
    Rule(
        rf"(?<![\w.])(?P<a>{SIGN}{NUM}|[A-Za-z](?![\w'’]))(?P<op>\s?[-−–]\s?)(?=(?P<b>{NUM}|[a-z](?![\w'’])|[√π(]))",
        _minus,
        starts="dls",
    ),
    Rule(r"(?<=[\w)²³%⁴-⁹ⁿ]\s)[-–]\s(?=\d|[(√π]|[a-z](?![\w'’]))", _minus_between, starts="s"),
    Rule(r"(?<![\w./])(?P<a>\d+(?:\.\d+)?)/(?P<b>\d+)(?![\w/]|\.\d)", _out_of),
    Rule(
        r"(?P<sign>(?:(?<![\w.)])[-−])?)(?<![\w.])(?P<a>\d{1,3})[/⁄](?P<b>\d{1,3})(?![\w/]|\.\d)",
        _fraction,
        starts="ds",
    ),
    Rule(r"24/7/365(?!\w)", lambda match: "twenty-four seven three sixty-five"),
    Rule(r"(?<![\w'’])(?P<n>[a-z])!(?=\s*[-+=*/×÷])", lambda m: f"{m['n']} factorial", starts="l"),
    Rule(rf"(?P<n>{NUM})!(?=\s*[-+=*/×÷])", _factorial),
    Rule(r"(?<!\w)(?P<f>[fghFGPp])\((?P<x>[a-z]|\d+)\)", _applied, starts="l"),
    Rule(r"(?<!\w)(?P<f>log|ln|sin|cos|tan|sqrt|exp)\((?=[\w√π.−-])", _function, starts="l"),
    Rule(
        r"(?<=\d)\((?=\d[^()]*[-+*/×÷][^()]*\))|(?<=\d)\)\((?=\d)", lambda m: "times,", starts="s"
    ),
    Rule(r"[A-Z]?[A-Za-z]{0,2}[₀-₉]+(?:[A-Z][a-z]?[₀-₉]*)*", _formula, starts="l"),
    Rule(
        r"(?<![\w.])(?P<n>\d+)x(?=\s(?:faster|slower|more|less|better|larger|bigger|smaller|cheaper|higher|lower|as)\b)",
        _times_faster,
    ),
    Rule(
        rf"(?P<r>>=|<=|>|<)(?=\s?[$€£-]?{NUM})(?<![\w)]>)(?<![\w)]<)(?<![\w)%] >)(?<![\w)%] <)",
        _relation,
        starts="s",
    ),
    Rule(r"(?<=\d)√", lambda m: "times the square root of", starts="s"),
    Rule(
        rf"(?<=[\d½⅓⅔¼¾⅛⅜⅝⅞])[-–](?=\d{{1,2}}[/⁄]\d|{VULGAR_SIGN})|(?<={VULGAR_SIGN})[-–](?=\d)",
        _arrow,
        starts="s",
    ),
    Rule(r"≈(?=\s?[\d.$€£])(?<![\w)]≈)(?<![\w)] ≈)", lambda m: "about", starts="s"),
    Rule(r"!=|<=|>=|==|\+/-|&&", _symbols, starts="s"),
    Rule(r"[-=]+>|→|⟶", _arrow, starts="s"),
    Rule(r"(?<=\d)\s?[x×*]\s?(?=[\d(])|(?<=\d\s)[x×*]\s?(?=[\d(])", lambda m: "times", starts="ls"),
    Rule(
        rf"{_OPERAND_BEFORE}\s?\*\s?(?=[\w(])|(?<=[\w)]\s)\*\s(?=[\w(])",
        lambda m: "times",
        starts="s",
    ),
    Rule(r"(?<=[\d)]\s)/\s(?=[\d(])|(?<=\))/(?=[\d(])", lambda m: "divided by", starts="s"),
)
