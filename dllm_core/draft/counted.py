"""A drafter without a network: what its base usually says, counted, and what stood before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dllm_core.draft import files
from dllm_core.draft.drafter import Drafter
from dllm_core.draft.ngrams import Ngrams
from dllm_core.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class CountedDrafter:
    """Drafts that cost no pass: there is nothing to keep beside a prompt.

    Attributes:
        ngrams: the table.
    """

    ngrams: Ngrams


AnyDrafter = Drafter | CountedDrafter


def load_drafter(directory: Path, base: Transformer, context: int) -> AnyDrafter:
    """Read a drafter for a base: of this project with a network or without, or a DFlash one.

    Raises:
        DrafterError: it is damaged, of an unsupported kind, or belongs to another base.
    """
    if files.is_counted(files.read_config(directory)):
        config, table = files.read_counts(directory)
        config.check(base)
        return CountedDrafter(table)
    return Drafter.load(directory, base, context)


def network_of(drafter: AnyDrafter | None) -> Drafter | None:
    """The drafter, where it has a network to ask."""
    return drafter if isinstance(drafter, Drafter) else None
