from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import faster_whisper
import pytest

from asr.checkpoint import checkpoint_directory
from asr.engine import AsrError

FILES = ("model.bin", "config.json", "tokenizer.json")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


def test_a_directory_is_taken_as_it_is(checkpoint: Path) -> None:
    assert checkpoint_directory(checkpoint) == checkpoint
    assert checkpoint_directory(str(checkpoint)) == checkpoint


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(AsrError, match=f"has no {name}:"):
        checkpoint_directory(checkpoint)


@pytest.mark.parametrize("name", ["bass", "/no/such/directory", "./models/base", "a/b/c"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(AsrError, match=rf"'{name}'.*tiny\.en.*base"):
        checkpoint_directory(name)


@pytest.mark.parametrize("name", ["base", "organisation/repository"])
def test_a_downloaded_model_needs_no_network(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def cached(asked: str, local_files_only: bool = False) -> str:
        assert (asked, local_files_only) == (name, True)
        return str(checkpoint)

    monkeypatch.setattr(faster_whisper, "download_model", cached)
    assert checkpoint_directory(name) == checkpoint


def test_a_model_is_fetched_when_it_is_not_in_the_cache(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str, local_files_only: bool = False) -> str:
        if local_files_only:
            raise FileNotFoundError("not in the cache")
        return str(checkpoint)

    monkeypatch.setattr(faster_whisper, "download_model", download)
    assert checkpoint_directory("small.en") == checkpoint


def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> NoReturn:
        raise FileNotFoundError("no route to host")

    monkeypatch.setattr(faster_whisper, "download_model", unreachable)
    with pytest.raises(AsrError, match=r"'small'.*no route to host.*give the directory"):
        checkpoint_directory("small")
