"""The heads for ends of turns that ship with the program, by the model that they were fitted on."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.errors import ModelError

FOLDER: Final = Path(__file__).parent / "turn_heads"
SHA256: Final = {
    "smollm2-135m-instruct": "3e0d7d3f1cd64c2e115222fa4f87a3eef948a4f0efcaa31366d165c91adaeb7e",
}
"""SHA-256 of the head of each model; `onebreath adapt turns` makes them."""


def shipped_head(model: str) -> Path | None:
    """The verified head of a default model; None where none is shipped.

    Raises:
        ModelError: the file is missing or damaged.
    """
    if model not in SHA256:
        return None
    path = FOLDER / f"{model}.safetensors"
    try:
        found = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; reinstall onebreath") from error
    if found != SHA256[model]:
        raise ModelError(f"{path} is damaged; reinstall onebreath")
    return path
