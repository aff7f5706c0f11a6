"""Commands that install what an optional part needs, in the environment that runs."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

EXTRAS = {
    "adapt": ("matplotlib>=3.9",),
    "browser": ("playwright>=1.50",),
    "hosted": ("openai>=2",),
    "lab": ("jiwer>=3", "matplotlib>=3.9", "whisper-normalizer>=0.1"),
    "mcp": ("httpx2>=2", "mcp>=2,<3"),
    "otel": (
        "opentelemetry-api>=1.30",
        "opentelemetry-exporter-otlp-proto-http>=1.30",
        "opentelemetry-sdk>=1.30",
    ),
    "ray": ("httpx>=0.28", "ray[serve]>=2.56"),
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


def own_command(*arguments: str) -> str:
    """The command line of this installation, by its path where the shell would not find it."""
    script = Path(sys.executable).with_name("onebreath")
    if not script.is_file():  # a source tree that is not installed
        return shlex.join([sys.executable, "-m", "agent", *arguments])
    found = shutil.which("onebreath")
    name = "onebreath" if found and Path(found).samefile(script) else str(script)
    return shlex.join([name, *arguments])
