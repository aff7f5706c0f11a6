"""The user's own words: a file that says how names, brands and abbreviations are spoken.

The file is TOML, one entry a line::

    "nginx" = "engine x"
    "Dr. Nguyen" = "Doctor Win"
    "Siobhan" = "/ʃɪˈvɔːn/"

The left side is the written form, the right side the spoken form in plain letters, or IPA between
slashes. An entry in lower case stands for every capitalisation; one with capitals for itself alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tts.engine import TtsError
from tts.grammar import Expression, Grammar, Part

MAX_BYTES = 1 << 20
MAX_ENTRIES = 10_000
MAX_WRITTEN = 100
MAX_SPOKEN = 300
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]")
_IPA = re.compile(r"/([^/]+)/")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Written forms with their spoken forms.

    Attributes:
        spoken: written form -> words to speak in its place.
        ipa: spoken word -> phonemes in IPA; the word stands in the text that the voice is given.
        path: file that the entries come from.
    """

    spoken: Mapping[str, str] = field(default_factory=dict)
    ipa: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    _by_first: Mapping[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.spoken)

    def phonemes(self, word: str) -> str | None:
        """IPA of one spoken word; None for a word without an entry."""
        return self.ipa.get(word) or self.ipa.get(word.lower())

    def at(self, text: str, start: int) -> tuple[int, str] | None:
        """The longest entry that begins at ``start``: its end in ``text`` and the spoken form."""
        first = _TOKEN.match(text, start)
        if first is None or (start and text[start - 1].isalnum() and first.group().isalnum()):
            return None
        for written in self._by_first.get(first.group().lower(), ()):
            end = start + len(written)
            found = text[start:end]
            same = found == written or (written.islower() and found.lower() == written)
            inside = text[end - 1 : end].isalnum() and text[end : end + 1].isalnum()
            if same and not inside:
                return end, self.spoken[written]
        return None


EMPTY = Lexicon()


def read_lexicon(path: Path) -> Lexicon:
    """Read a lexicon file.

    Raises:
        TtsError: the file is missing, too large, not TOML, or an entry cannot be spoken.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TtsError(f"{path}: larger than {MAX_BYTES >> 20} MiB; keep the names that matter")
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TtsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TtsError(f'{path}: not a lexicon ({error}); write lines "word" = "spoken"') from error
    return make_lexicon(entries, path)


def make_lexicon(entries: Mapping[str, object], path: Path | None = None) -> Lexicon:
    """Make a lexicon of written -> spoken, where ``/.../`` is IPA.

    Raises:
        TtsError: an entry is empty, too long, or there are too many.
    """
    name = path or "lexicon"
    if len(entries) > MAX_ENTRIES:
        raise TtsError(f"{name}: {len(entries)} entries, at most {MAX_ENTRIES}")
    spoken: dict[str, str] = {}
    ipa: dict[str, str] = {}
    by_first: dict[str, list[str]] = {}
    for key, value in entries.items():
        written = " ".join(key.split())
        first = _TOKEN.match(written)
        if not isinstance(value, str) or not value.strip() or first is None:
            raise TtsError(f'{name}: {key!r} needs a spoken form: "word" = "spoken" or "/IPA/"')
        if len(written) > MAX_WRITTEN or len(value) > MAX_SPOKEN:
            raise TtsError(f"{name}: {key[:40]!r} is longer than {MAX_WRITTEN} -> {MAX_SPOKEN}")
        sound = _IPA.fullmatch(value.strip())
        spoken[written] = _word_for(written, name) if sound else _letters_only(value, key, name)
        if sound:
            ipa[spoken[written]] = sound[1]
        by_first.setdefault(first.group().lower(), []).append(written)
    for forms in by_first.values():
        forms.sort(key=len, reverse=True)
    return Lexicon(spoken, ipa, path, by_first)


def _word_for(written: str, name: object) -> str:
    """One word of letters that stands for an entry with IPA."""
    word = "-".join(re.findall(r"[^\W\d_]+", written))
    if not word:
        raise TtsError(f"{name}: {written!r} has no letter; give its spoken form in words")
    return word


def _letters_only(value: str, key: str, name: object) -> str:
    """A spoken form as it is given; digits in it would be silent."""
    if re.search(r"[^\w\s'’,.\-]|[\d_]", value):
        raise TtsError(f"{name}: write the spoken form of {key!r} in letters, or as /IPA/")
    return " ".join(value.replace("’", "'").split())


class WithLexicon:
    """A grammar in which the user's entries come first."""

    def __init__(self, grammar: Grammar, lexicon: Lexicon) -> None:
        self._grammar = grammar
        self._lexicon = lexicon

    def symbol(self, char: str) -> str:
        return self._grammar.symbol(char)

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Expression]:
        stop = len(text) if end is None else end
        position = start
        for token in _TOKEN.finditer(text, start, stop):
            if token.start() < position:
                continue
            hit = self._lexicon.at(text, token.start())
            if hit is None or hit[0] > stop:
                continue
            yield from self._grammar.find(text, position, token.start())
            position, spoken = hit
            yield Expression(token.start(), position, (Part(spoken, position),))
        yield from self._grammar.find(text, position, stop)
