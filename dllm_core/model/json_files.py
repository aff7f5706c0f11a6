"""JSON and text files of a checkpoint's directory, with one sentence for each way to be damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dllm_core.errors import ModelFileError

POINTER = "it is a pointer of Git LFS, not the file: run `git lfs pull` there, or fetch it again."


def is_pointer(path: Path) -> bool:
    """Whether a file is what Git leaves in the place of a large one."""
    try:
        with path.open("rb") as file:
            return file.read(32).startswith(b"version https://git-lfs")
    except OSError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelFileError: it is missing or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ModelFileError(f"{path.parent} holds no {path.name}.") from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}.") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"{path} does not hold a JSON object.")
    return values


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}.") from error
