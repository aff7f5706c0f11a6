"""The heads for ends of turns that ship with the program, by the model that they were fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.errors import ModelError

FOLDER: Final = Path(__file__).parent / "turn_heads"
SHA256: Final = {
    "smollm2-135m-instruct": "262a1c14bb44766652ad59b119ec51cbf7b4eea0af8254a0d918938830d5a450",
}
"""SHA-256 of the head of each model; `onebreath adapt turns` makes them."""


def shipped_head(model: str) -> Path | None:
    """The verified head of a default model; None where none is shipped.

    Raises:
        ModelError: the file is missing or damaged.
    """
    return verified(FOLDER, SHA256, model)


def verified(folder: Path, known: Mapping[str, str], model: str) -> Path | None:
    """The file of a model in ``folder``; None where none is known.

    Args:
        known: SHA-256 of each model's file.

    Raises:
        ModelError: the file is missing or damaged.
    """
    if model not in known:
        return None
    path = folder / f"{model}.safetensors"
    try:
        found = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; reinstall onebreath") from error
    if found != known[model]:
        raise ModelError(f"{path} is damaged; reinstall onebreath")
    return path
