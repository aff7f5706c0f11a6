"""Where the candidates of a draft come from, all of them together."""

from __future__ import annotations

from collections.abc import Sequence

from dllm_core.draft.proposal import Candidate
from dllm_core.draft.tree import Proposes


class Joined:
    """The candidates of several sources; the likelier chance where two have the same token."""

    def __init__(self, sources: Sequence[Proposes]) -> None:
        self._sources = sources

    def after(self, path: Sequence[int], count: int) -> list[Candidate]:
        """The best candidates after a path, best first; all that the sources have."""
        best: dict[int, float] = {}
        for source in self._sources:
            for token, chance in source.after(path, count):
                best[token] = max(chance, best.get(token, 0.0))
        found = [Candidate(token, chance) for token, chance in best.items()]
        return sorted(found, key=lambda each: -each.chance)
