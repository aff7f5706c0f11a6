"""The drafters that this package carries."""

from __future__ import annotations

from pathlib import Path

from dllm_core.draft import files
from dllm_core.draft.config import fingerprint
from dllm_core.model.transformer import Transformer

WEIGHTS = Path(__file__).parent / "weights"


def find(base: Transformer, weights: Path = WEIGHTS) -> Path | None:
    """The directory of the drafter that was trained for this base, if there is one.

    Raises:
        DrafterError: a configuration is damaged.
    """
    places = sorted(path.parent for path in weights.glob(f"*/{files.CONFIG}"))
    wanted = {}
    for place in places:
        shape = files.read_config(place).get("drafter", {})
        # The fingerprint takes a moment: only where the shape is right.
        if shape.get("vocab_size") == base.config.vocab_size:
            wanted[shape.get("fingerprint")] = place
    return wanted.get(fingerprint(base)) if wanted else None
