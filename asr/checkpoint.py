"""Location of a Whisper model that was converted for CTranslate2."""

from __future__ import annotations

from pathlib import Path

import faster_whisper

from asr.engine import AsrError

_NEEDED = ("model.bin", "config.json", "tokenizer.json")


def checkpoint_directory(model: str | Path) -> Path:
    """Directory with the files of a model.

    Args:
        model: a directory, or a name that faster-whisper knows (``base``, ``large-v3-turbo``,
            ``organisation/repository``), which is downloaded once.

    Raises:
        AsrError: there is no such model, a file is missing, or it cannot be downloaded.
    """
    directory = Path(model).expanduser()
    if not directory.is_dir():
        directory = _download(str(model))
    missing = [name for name in _NEEDED if not (directory / name).is_file()]
    if missing:
        raise AsrError(
            f"{directory} has no {', '.join(missing)}: it must be a Whisper model converted for "
            "CTranslate2 (`ct2-transformers-converter --copy_files tokenizer.json`)"
        )
    return directory


def _download(name: str) -> Path:
    names = faster_whisper.available_models()
    if name not in names and not _is_repository(name):
        raise AsrError(
            f"no Whisper model {name!r}: give an existing directory, organisation/repository, "
            f"or one of {', '.join(names)}"
        )
    try:
        return Path(faster_whisper.download_model(name, local_files_only=True))
    except FileNotFoundError:
        pass  # not in the local cache yet
    try:
        return Path(faster_whisper.download_model(name))
    except (OSError, ValueError, RuntimeError) as error:
        raise AsrError(
            f"cannot download the Whisper model {name!r} ({error}): connect to the network once, "
            "or give the directory of a downloaded model"
        ) from error


def _is_repository(name: str) -> bool:
    organisation, _, repository = name.partition("/")
    return bool(organisation.strip(".~")) and bool(repository) and "/" not in repository
