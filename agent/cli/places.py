"""Places that commands write to, checked before the work whose result should go there."""

from __future__ import annotations

from pathlib import Path

from agent.errors import ConfigError


def check_file(path: Path | None) -> None:
    """Refuse a file that cannot be written; nothing is left behind. None is no file.

    Raises:
        ConfigError: the place cannot be written to.
    """
    if path is None:
        return
    try:
        _try_to_write(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _try_to_write(path: Path) -> None:
    new = not path.exists()
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: name a file in a directory that exists")
    if not new and not path.is_file():
        return  # a pipe or a device: to open it may wait for its reader
    with path.open("ab"):
        pass
    if new:
        path.unlink(missing_ok=True)
