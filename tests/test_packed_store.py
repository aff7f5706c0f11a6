"""Files of packed weights: whole or not there, the user's own, bounded."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from dllm_core.model import packed_store, packed_writer
from dllm_core.model.packed_store import PackedStore, choose, key_of, read_header

KEY = key_of(["a model"])
BODY = bytes(range(256)) * 48  # three pages


def write(store: PackedStore, key: str = KEY, body: bytes = BODY) -> None:
    writer = store.begin(key, len(body), 1000)
    writer.add(memoryview(body))
    store.finish(writer, key, {})


@pytest.fixture
def store(tmp_path: Path) -> PackedStore:
    return PackedStore(tmp_path / "packed")


def test_what_was_written_is_found_and_private(store: PackedStore) -> None:
    assert store.open(KEY) is None
    write(store)
    found = store.open(KEY)
    assert found is not None
    assert found.path.read_bytes()[found.start :] == BODY
    assert found.start % packed_writer.PAGE == 0
    assert found.path.stat().st_mode & 0o777 == 0o600
    assert store.directory.stat().st_mode & 0o777 == 0o700
    assert store.open(key_of(["another"])) is None


@pytest.mark.parametrize("at", [0, 20, 40, 70])
def test_a_damaged_header_is_told_once_and_the_file_deleted(
    store: PackedStore, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    write(store)
    raw = bytearray(store.path(KEY).read_bytes())
    raw[at] ^= 1
    store.path(KEY).write_bytes(raw)
    assert store.open(KEY) is None
    assert not store.path(KEY).exists()
    assert len(caplog.records) == 1
    assert "made again" in caplog.text
    assert store.open(KEY) is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("length", [0, 10, 5000, -1])
def test_a_file_of_another_length_is_not_used(store: PackedStore, length: int) -> None:
    write(store)
    raw = store.path(KEY).read_bytes()
    store.path(KEY).write_bytes(raw + b"x" if length < 0 else raw[:length])
    assert store.open(KEY) is None


def test_a_file_of_another_model_is_not_used(store: PackedStore) -> None:
    other = key_of(["another"])
    write(store, other)
    store.path(other).rename(store.path(KEY))
    assert store.open(KEY) is None


def test_damage_within_the_weights_is_found_by_reading_them(store: PackedStore) -> None:
    write(store)
    write(store, key_of(["another"]))
    raw = bytearray(store.path(KEY).read_bytes())
    raw[-7] ^= 1
    store.path(KEY).write_bytes(raw)
    found = dict(store.problems())
    assert found[store.path(key_of(["another"]))] is None
    assert "not those that were written" in str(found[store.path(KEY)])


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs user ids")
def test_a_directory_that_others_may_write_to_is_left_alone(
    store: PackedStore,
) -> None:
    write(store)
    store.directory.chmod(0o777)
    assert store.open(KEY) is None
    with pytest.raises(OSError, match="others may write"):
        write(store)
    assert store.path(KEY).exists()


def test_the_files_that_were_not_used_for_longest_make_room(tmp_path: Path) -> None:
    store = PackedStore(tmp_path, limit=50_000)
    keys = [key_of([n]) for n in range(4)]
    for n, key in enumerate(keys[:3]):
        write(store, key)
        os.utime(store.path(key), (n, n))
    assert store.open(keys[0]) is not None  # which is a use
    write(store, keys[3])
    kept = [store.path(key).exists() for key in keys]
    assert kept == [True, False, True, True]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.packed")) <= 60_000


def test_weights_beyond_the_limit_are_not_kept(tmp_path: Path) -> None:
    store = PackedStore(tmp_path, limit=len(BODY) - 1)
    with pytest.raises(OSError, match="more than the limit"):
        write(store)
    assert not list(tmp_path.iterdir())
    # They may turn out to be more than was known in the beginning.
    writer = store.begin(KEY, 10, 1000)
    writer.add(memoryview(BODY))
    with pytest.raises(OSError, match="more than the limit"):
        store.finish(writer, KEY, {})
    writer.drop()
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_given_up_leaves_nothing_behind(store: PackedStore) -> None:
    writer = store.begin(KEY, 10, 1000)
    at = writer.add(memoryview(BODY))
    mapped = writer.mapped(at, len(BODY))
    writer.drop()
    assert not list(store.directory.iterdir())
    assert mapped.tobytes() == BODY


def test_what_is_under_way_is_read_from_the_file(store: PackedStore) -> None:
    writer = store.begin(KEY, 10, 1000)
    places = [writer.add(memoryview(part)) for part in (b"first", BODY, b"last")]
    assert [place % packed_writer.PAGE for place in places] == [0, 0, 0]
    mapped = writer.mapped(places[1], len(BODY))
    assert mapped.tobytes() == BODY
    mapped[0] = 9  # for its owner alone
    store.finish(writer, KEY, {"a": 1})
    assert dict(store.problems()) == {store.path(KEY): None}
    found = store.open(KEY)
    assert found is not None
    assert found.header["a"] == 1
    assert found.path.read_bytes()[found.start + places[2] :].rstrip(b"\0") == b"last"


def test_a_header_without_room_is_an_error(store: PackedStore) -> None:
    writer = store.begin(KEY, 10, 200)
    with pytest.raises(OSError, match="header of"):
        store.finish(writer, KEY, {"a": "x" * 200})
    writer.drop()


def test_too_little_room_is_known_before(
    store: PackedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = packed_store.shutil.disk_usage(store.directory.parent)
    monkeypatch.setattr(packed_store.shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(OSError, match="free of"):
        write(store)


def test_a_directory_that_cannot_be_made_is_gone_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = PackedStore(tmp_path / "file" / "packed")
    with store.locked(KEY):
        assert store.open(KEY) is None
        with pytest.raises(OSError, match=r"Not a directory|File exists"):
            write(store)


def test_an_interrupted_write_leaves_nothing_that_is_used(store: PackedStore) -> None:
    writer = store.begin(KEY, 10, 1000)
    writer.add(memoryview(BODY))
    assert store.open(KEY) is None
    writer.drop()
    # A program that is ended at once leaves its unfinished file, which a later one deletes.
    left, fresh = (store.directory / f"{name}.partial" for name in ("left", "fresh"))
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - 7200,) * 2)
    write(store)
    assert not left.exists()
    assert fresh.exists()


def test_several_may_write_the_same_file_at_once(store: PackedStore) -> None:
    ready = threading.Barrier(4)

    def one() -> None:
        ready.wait(10)
        write(store)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert dict(store.problems()) == {store.path(KEY): None}
    assert not list(store.directory.glob("*.partial"))


def test_the_lock_is_taken_by_one_at_a_time(store: PackedStore) -> None:
    inside, most = [0], [0]

    def one() -> None:
        with store.locked(KEY):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1]


def test_a_lock_that_does_not_come_is_gone_without(
    store: PackedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_store, "_LOCK_TIMEOUT", 0.0)
    with store.locked(KEY), store.locked(KEY):
        write(store)
    assert store.path(KEY).exists()


def test_a_digest_is_remembered_until_the_file_changes(
    store: PackedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(b"first")
    before = source.stat()
    first = store.digest(source)
    read: list[Path] = []
    real = packed_store._sha256
    monkeypatch.setattr(packed_store, "_sha256", lambda path: read.append(path) or real(path))
    assert store.digest(source) == first
    assert not read
    # The same size, and the same time of change for whoever looks only there.
    with source.open("r+b") as file:
        file.write(b"other")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.digest(source) != first
    assert read == [source]


def test_a_damaged_memo_is_not_believed(store: PackedStore, tmp_path: Path) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(b"weights")
    first = store.digest(source)
    (memo,) = (store.directory / "sources").iterdir()
    for text in ("", "abc", "x" * 64):
        memo.write_text(text)
        assert store.digest(source) == first


def test_few_digests_are_remembered(
    store: PackedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_store, "_MEMOS", 3)
    for n in range(8):
        source = tmp_path / f"{n}.gguf"
        source.write_bytes(b"x")
        store.digest(source)
    assert len(list((store.directory / "sources").iterdir())) <= 4


def test_the_environment_moves_the_store_or_switches_it_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(packed_store.VARIABLE, raising=False)
    usual = choose()
    assert usual is not None
    assert usual.directory.name == "packed"
    assert choose("off") is None
    monkeypatch.setenv(packed_store.VARIABLE, str(tmp_path))
    assert choose().directory == tmp_path  # type: ignore[union-attr]
    assert choose(tmp_path / "own").directory == tmp_path / "own"  # type: ignore[union-attr]
    monkeypatch.setenv(packed_store.VARIABLE, "off")
    assert choose() is None
    assert choose(tmp_path).directory == tmp_path  # type: ignore[union-attr]


def test_what_is_no_packed_file_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "file"
    path.write_bytes(b"GGUF" * 100)
    with pytest.raises(ValueError, match="no file of packed weights"):
        read_header(path)
