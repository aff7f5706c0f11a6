"""Where packed weights are kept, as the settings and the command line have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli import maintenance
from agent.config.settings import ResponderChoice
from agent.config.sources import load_settings
from agent.errors import ConfigError
from dllm_core.model import packed_store
from dllm_core.model.packed_store import PackedStore

BODY = bytes(5000)


def keep(folder: Path, *keys: str) -> PackedStore:
    store = PackedStore(folder)
    for key in keys:
        writer = store.begin(key, len(BODY), 1000)
        writer.add(memoryview(BODY))
        store.finish(writer, key, {})
    return store


def test_the_settings_are_those_of_the_engine() -> None:
    chosen = ResponderChoice(packed_weights="off", packed_limit=2.5)
    assert chosen.loading() == {"packed": "off", "packed_limit": 2_500_000_000}
    assert ResponderChoice().loading() == {}
    assert "packed_weights" not in chosen.decoding()


def test_the_environment_has_both_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(packed_store.VARIABLE, "off")
    monkeypatch.setenv("ONEBREATH_RESPONDER__PACKED_WEIGHTS", str(tmp_path))
    assert load_settings().responder.packed_weights == str(tmp_path)
    monkeypatch.setenv("ONEBREATH_RESPONDER__PACKED_LIMIT", "0")
    with pytest.raises(ConfigError, match="packed_limit"):
        load_settings()


@pytest.mark.parametrize("damaged", [True, False])
def test_models_deletes_damaged_files_only(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    damaged: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(packed_store.VARIABLE, str(tmp_path / "packed"))
    store = keep(tmp_path / "packed", "one", "two")
    if damaged:
        raw = bytearray(store.path("one").read_bytes())
        raw[-1] ^= 1
        store.path("one").write_bytes(raw)
    maintenance._drop_damaged_packed()
    assert store.path("one").exists() is not damaged
    assert store.path("two").exists()
    assert ("is deleted" in " ".join(capsys.readouterr().err.split())) is damaged


def test_models_goes_on_where_settings_are_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(packed_store.VARIABLE, "off")
    (tmp_path / "onebreath.toml").write_text("[nonsense")
    maintenance._drop_damaged_packed()
