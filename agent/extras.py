"""Commands that install what an optional part needs, in the environment that runs."""

from __future__ import annotations

import shlex
import sys

EXTRAS = {
    "adapt": ("matplotlib>=3.9",),
    "browser": ("playwright>=1.50",),
    "hosted": ("openai>=2",),
    "lab": ("jiwer>=3", "matplotlib>=3.9", "whisper-normalizer>=0.1"),
    "mcp": ("httpx2>=2", "mcp>=2,<3"),
}
"""Requirements by extra, as pyproject.toml has them.

They are named one by one, because no package index knows ``onebreath[extra]``: this works beside an
editable installation, a wheel and a source tree alike.
"""


def install(extra: str) -> str:
    """The command that installs an extra for the Python that runs this."""
    return pip_install(*EXTRAS[extra])


def pip_install(*requirements: str) -> str:
    """The command that installs packages for the Python that runs this."""
    return shlex.join([sys.executable, "-m", "pip", "install", *requirements])
