"""The table of written text and its right spoken forms, and the comparison with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import ConfigError

TABLE: Final = Path(__file__).with_name("spoken_forms.txt")
"""The bundled table; its head explains the notation."""

_ITEM = re.compile(r"\{([^}]*)\}|\[([^\]]*)\]|<([^>]*)>|(\S+)")
_SCALE = "hundred|thousand|million|billion|trillion"


@dataclass(frozen=True, slots=True)
class SpokenForm:
    """One line of the table."""

    kind: str
    """Class of the literature: cardinal, date, telephone, ..."""
    written: str
    spoken: str
    """Right spoken forms, in the notation of the table."""

    def accepts(self, said: str) -> bool:
        """Whether ``said`` is one of the right spoken forms."""
        words = compared(said, ends=" ." in self.spoken)
        return re.fullmatch(_pattern(self.spoken), f"{words} ".lstrip()) is not None


@dataclass(frozen=True, slots=True)
class Miss:
    """A line that was not said right."""

    form: SpokenForm
    said: str


def read_forms(path: Path = TABLE) -> list[SpokenForm]:
    """All lines of a table.

    Raises:
        ConfigError: the file cannot be read or holds no line.
    """
    try:
        forms = list(_forms(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not forms:
        raise ConfigError(f"{path}: no line `written => spoken` under a heading `[class]`")
    return forms


def _forms(text: str) -> Iterator[SpokenForm]:
    kind = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            kind = heading[1]
        elif kind and " =>" in line:
            written, _, spoken = line.rpartition(" =>")
            yield SpokenForm(kind, written.replace("⏎", "\n"), spoken.strip())


def misses(forms: Sequence[SpokenForm], say: Callable[[str], str]) -> list[Miss]:
    """The lines that ``say`` does not say right."""
    said = ((form, say(form.written)) for form in forms)
    return [Miss(form, words) for form, words in said if not form.accepts(words)]


def compared(said: str, *, ends: bool = False) -> str:
    """Spoken text as it is compared: lower case, no marks, "oh" as zero, no "and" in numbers."""
    text = said.lower().replace("-", " ").replace("’", "'")
    text = re.sub(r"[.!?]+(?=\s|$)", " . ", text) if ends else text
    text = re.sub(r"[^\w' .]" if ends else r"[^\w' ]", " ", text)
    text = re.sub(rf"\b({_SCALE})\s+and\b", r"\1", text)
    text = re.sub(r"\boh\b", "zero", text)
    return " ".join(text.split())


def _pattern(spoken: str) -> str:
    """A regular expression over words that each end with a space."""
    parts: list[str] = []
    for item in _ITEM.finditer(spoken):
        either, optional, letters, word = item.groups()
        if either is not None:
            parts.append(f"(?:{'|'.join(map(_pattern, either.split('|')))})")
        elif optional is not None:
            parts.append(f"(?:{_pattern(optional)})?")
        elif letters is not None:
            name = letters.lower()
            parts.append(f"(?:{name} |{' '.join(name)} )")
        elif word == ".":
            parts.append(r"\. ")
        else:
            parts.append(re.escape(compared(word)) + " ")
    return "".join(parts)
