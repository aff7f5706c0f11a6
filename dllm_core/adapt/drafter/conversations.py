"""What the base is asked: conversations of several kinds, the same ones for the same seed."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dllm_core.adapt.distill import spellings
from dllm_core.adapt.held_out import held_out_prompts, plain

_SLOT = re.compile(r"{(\w+)}")
_BARE = 0.12
"""Share of prompts in lower case without marks, as plain recognisers write."""
_HESITATES = 0.05
_HESITATIONS = ("Um, ", "Uh, ", "So, ", "Well, ", "Okay, so ", "Hey, ", "Oh, ")
_OTHER_SYSTEM = 0.28
"""Share of conversations with other instructions than the agent's own."""
_NO_SYSTEM = 0.03

_KINDS = (
    ("request", 0.19),
    ("smalltalk", 0.14),
    ("fact", 0.17),
    ("advice", 0.18),
    ("turns", 0.28),
    ("tools", 0.04),
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Instructions and what a caller says, turn by turn; the replies are the base's."""

    system: str | None
    turns: tuple[str, ...]


@cache
def bundled(name: str) -> tuple[str, ...]:
    """The lines of a bundled file."""
    place = files(__package__) / "prompts"
    packed = place / f"{name}.txt.gz"
    if packed.is_file():
        text = gzip.decompress(packed.read_bytes()).decode("utf-8")
    else:
        text = (place / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)


@cache
def _slots() -> dict[str, list[str]]:
    text = (files(__package__) / "prompts" / "slots.json").read_text(encoding="utf-8")
    found: dict[str, list[str]] = json.loads(text)
    return found


@cache
def _forbidden() -> frozenset[str]:
    return held_out_prompts() | frozenset(map(plain, bundled("left_out")))


class Source:
    """Draws conversations. `own` are prompts of the user's, which make half of all first turns."""

    def __init__(self, seed: int, system: str, own: Sequence[str] = ()) -> None:
        self._random = random.Random(seed)
        self._system, self._own = system, list(own)
        self._asked: set[Conversation] = set()

    def draw(self) -> Conversation:
        """The next conversation; one that was drawn before comes back only if nothing else does."""
        found = self._once()
        for _ in range(20):
            if found not in self._asked:
                break
            found = self._once()
        self._asked.add(found)
        return found

    def _once(self) -> Conversation:
        names, shares = zip(*_KINDS, strict=True)
        kind = self._random.choices(names, shares)[0]
        if kind == "tools":
            system = self._random.choice(bundled("tools"))
            return Conversation(system, (self._say("tool_requests"),))
        if kind == "turns":
            return Conversation(self._instructions(), tuple(self._turns()))
        return Conversation(self._instructions(), (self._first(kind),))

    def _first(self, kind: str) -> str:
        if self._own and self._random.random() < 0.5:
            return self._heard(self._random.choice(self._own))
        name = {"request": "requests", "fact": "facts"}.get(kind, kind)
        return self._say(name)

    def _turns(self) -> Iterator[str]:
        """Two to four turns: an opening or a question, then what people say on."""
        kinds = ("fact", "smalltalk", "request", "advice", "openers")
        yield self._first(self._random.choice(kinds))
        for _ in range(self._random.choice((1, 1, 2, 3))):
            later = ("followups", "acknowledgements", "smalltalk", "requests", "facts")
            yield self._say(self._random.choices(later, (40, 20, 15, 12, 13))[0])

    def _say(self, name: str) -> str:
        """A line of a file as somebody might have said it; none that is kept for evaluation."""
        while True:
            text = self._filled(self._random.choice(bundled(name)))
            if plain(text) not in _forbidden():
                return self._heard(text)

    def _filled(self, pattern: str) -> str:
        return _SLOT.sub(lambda found: self._random.choice(_slots()[found[1]]), pattern)

    def _heard(self, text: str) -> str:
        """As Whisper writes it, mostly."""
        forms = spellings(text) or [text]
        if self._random.random() < _BARE:
            return forms[0]
        written = forms[-1]
        if self._random.random() < _HESITATES:
            return self._random.choice(_HESITATIONS) + written[0].lower() + written[1:]
        return written

    def _instructions(self) -> str | None:
        drawn = self._random.random()
        if drawn < _NO_SYSTEM:
            return None
        if drawn < _NO_SYSTEM + _OTHER_SYSTEM:
            return self._filled(self._random.choice(bundled("systems")))
        return self._system
