"""The command ``onebreath``, also as ``python -m onebreath``.

The five packages have common names. A project with a folder of such a name, such as ``tts``, that
stands first on Python's path would hide ours; so they are looked up beside this file first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = frozenset(("agent", "asr", "dllm_core", "tts", "web_client"))


class OwnPackages:
    """A finder of the five packages; all other modules are left to Python's own finders."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The place of one of our packages, beside this file."""
        if name not in PACKAGES:
            return None
        return PathFinder.find_spec(name, [str(Path(__file__).resolve().parent)])


def main() -> None:
    """Run the command line with our own packages, whatever else is on Python's path."""
    sys.meta_path.insert(0, OwnPackages)
    from agent.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
