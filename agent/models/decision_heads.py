"""The heads for decisions that ship with the program, by the model that they were fitted on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.models.turn_heads import verified

FOLDER: Final = Path(__file__).parent / "decision_heads"
SHA256: Final = {
    "smollm2-135m-instruct": "912e742fe4c534853e3025f496b8ed0088bc9ada37ac615865239b910e5be9d0",
}
"""SHA-256 of the heads of each model, which `onebreath adapt decisions` makes of
benchmarks/decision_examples.jsonl."""


def shipped_heads(model: str) -> Path | None:
    """The verified heads of a default model; None where none are shipped.

    Raises:
        ModelError: the file is missing or damaged.
    """
    return verified(FOLDER, SHA256, model)
