"""Builds the environments of the clients, with the versions of versions.toml.

python tests/clients/build.py [FOLDER]
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / ".clients"


def build(folder: Path) -> None:
    """Build what is missing or has other versions than it should."""
    pinned = tomllib.loads((HERE / "versions.toml").read_text())
    for name, environment in pinned["python"].items():
        packages = environment["packages"]
        target = folder / name
        if _stands(target, packages):
            continue
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(target)], check=True)
        pip = [str(target / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "install", *packages], check=True)
        _note(target, packages)
    packages, target = pinned["npm"]["packages"], folder / "npm"
    if not _stands(target, packages):
        target.mkdir(parents=True, exist_ok=True)
        (target / "package.json").write_text('{"private": true}\n')
        npm = ["npm", "install", "--no-audit", "--no-fund", "--save-exact"]
        subprocess.run([*npm, *packages], cwd=target, check=True)
        _note(target, packages)


def _stands(target: Path, packages: list[str]) -> bool:
    built = target / ".built"
    return built.is_file() and built.read_text().split("\n") == packages


def _note(target: Path, packages: list[str]) -> None:
    (target / ".built").write_text("\n".join(packages))


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
