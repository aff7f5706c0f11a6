from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import ModelError
from agent.extras import own_command
from agent.models import store
from agent.models.catalogue import OPTIONAL, Model, ModelFile

HALVES = (b"left half, " * 1000, b"right half")
WHOLE = b"".join(HALVES)

# In a process of its own, given the directories to import from: begin to put the model
# together, say so, and go on only when a line arrives.
ASSEMBLE = """
import sys
sys.path[:0] = sys.argv[1:]
import test_models
from agent.models import store

def hold(name, done, size):
    if done < size:
        print("under way", flush=True)
        sys.stdin.readline()

store.MODELS["parts"] = test_models.model_in_parts()
print(store.locate("parts", hold))
"""


def _file(name: str, content: bytes, *sources: tuple[str, str]) -> ModelFile:
    return ModelFile(name, len(content), hashlib.sha256(content).hexdigest(), sources)


def model_in_parts() -> Model:
    return Model(
        name="parts",
        role="asr",
        packages=("ob-part1", "ob-part2"),
        files=(
            _file("model.bin", WHOLE, ("ob-part1", "data/a"), ("ob-part2", "data/b")),
            _file("config.json", b"{}", ("ob-part1", "data/config.json")),
        ),
        licence="MIT",
        source="made by this test",
    )


def _install(directory: Path, package: str, files: dict[str, bytes]) -> None:
    root = directory / package
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "__init__.py").write_text("raise RuntimeError('imported, not found')\n")


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two model packages on the import path, and an empty cache directory."""
    directory = tmp_path / "site-packages"
    _install(directory, "ob_part1", {"data/a": HALVES[0], "data/config.json": b"{}"})
    _install(directory, "ob_part2", {"data/b": HALVES[1]})
    _install(directory, "ob_single", {"voice.onnx": b"voice", "voice.json": b"{}"})
    single = Model(
        name="single",
        role="tts",
        packages=("ob-single",),
        files=(
            _file("voice.onnx", b"voice", ("ob-single", "voice.onnx")),
            _file("voice.json", b"{}", ("ob-single", "voice.json")),
        ),
        licence="CC0-1.0",
        source="made by this test",
        entry="voice.onnx",
    )
    monkeypatch.setitem(store.MODELS, "parts", model_in_parts())
    monkeypatch.setitem(store.MODELS, "single", single)
    monkeypatch.setenv("ONEBREATH_MODELS", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(directory)
    return directory


def test_a_model_in_one_package_is_used_in_place(packages):
    assert store.locate("single") == packages / "ob_single" / "voice.onnx"
    assert not store.cache_dir().exists()


def test_parts_are_put_together_once(packages):
    directory = store.locate("parts")
    assert directory == store.cache_dir() / "parts"
    assert (directory / "model.bin").read_bytes() == WHOLE
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.bin"]
    made = (directory / "model.bin").stat().st_mtime_ns
    assert store.locate("parts") == directory
    assert (directory / "model.bin").stat().st_mtime_ns == made


def test_a_truncated_copy_is_made_again(packages):
    copy = store.locate("parts") / "model.bin"
    copy.write_bytes(WHOLE[:5])
    store.locate("parts")
    assert copy.read_bytes() == WHOLE


def test_progress_ends_at_the_size(packages):
    calls = []
    store.locate("parts", lambda *call: calls.append(call))
    assert ("model.bin", len(WHOLE), len(WHOLE)) in calls
    assert calls[-1] == ("config.json", 2, 2)


def test_whole_models_have_no_problems(packages):
    assert store.problems("parts") == []  # still in parts
    store.locate("parts")
    assert store.problems("parts") == []  # put together
    store.verify("single")


def test_a_damaged_part_is_named_and_leaves_nothing_behind(packages):
    part = packages / "ob_part2" / "data" / "b"
    part.write_bytes(b"wrong half")
    with pytest.raises(ModelError) as caught:
        store.locate("parts")
    message = str(caught.value)
    assert str(part) in message
    assert hashlib.sha256(WHOLE).hexdigest() in message
    assert hashlib.sha256(HALVES[0] + b"wrong half").hexdigest() in message
    assert "onebreath models --fetch parts" in message
    assert list((store.cache_dir() / "parts").iterdir()) == []


def test_a_damaged_copy_of_the_right_size_is_found_by_its_hash(packages):
    copy = store.locate("parts") / "model.bin"
    copy.write_bytes(WHOLE[:-1] + b"F")
    with pytest.raises(ModelError, match="is damaged: sha256 is") as caught:
        store.verify("parts")
    assert str(copy) in str(caught.value)


def test_fetch_drops_a_damaged_copy_and_needs_no_network_for_it(packages):
    copy = store.locate("parts") / "model.bin"
    copy.write_bytes(WHOLE[:-1] + b"F")
    store.fetch(["parts"])
    assert not copy.exists()
    assert (store.locate("parts") / "model.bin").read_bytes() == WHOLE


def test_a_missing_package_is_one_problem_with_a_remedy(packages, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(packages)])
    command = own_command("models", "--fetch", "single")
    assert store.problems("single") == [
        f"single: the package ob-single is not installed; run: {command}"
    ]
    with pytest.raises(ModelError, match="the package ob-part1 is not installed"):
        store.locate("parts")


def test_a_missing_file_is_named(packages):
    (packages / "ob_single" / "voice.json").unlink()
    with pytest.raises(ModelError, match=r"voice\.json is missing; run"):
        store.locate("single")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match="no model 'tiny' is known; there are whisper-base, "):
        store.locate("tiny")


def test_a_cache_directory_that_cannot_be_made_is_explained(packages, tmp_path, monkeypatch):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv("ONEBREATH_MODELS", str(in_the_way / "models"))
    with pytest.raises(ModelError, match="set ONEBREATH_MODELS to a directory with room"):
        store.locate("parts")


@pytest.mark.slow
def test_a_second_process_waits_and_then_finds_the_work_done(packages, monkeypatch):
    command = [sys.executable, "-c", ASSEMBLE, str(packages), str(Path(__file__).parent)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "under way\n"
        with monkeypatch.context() as impatient:
            impatient.setattr(store, "_LOCK_TIMEOUT", 0.0)
            with pytest.raises(ModelError, match=r"parts\.lock"):
                store.locate("parts")
        first.stdin.write("go on\n")
        first.stdin.flush()
        calls = []
        directory = store.locate("parts", lambda *call: calls.append(call))
        assert first.communicate()[0] == f"{directory}\n"
    assert first.returncode == 0
    assert calls == []
    assert (directory / "model.bin").read_bytes() == WHOLE
    assert not list(directory.glob("*.partial"))


def _wheel(directory: Path, version: str) -> str:
    """Write a wheel of ob_single and return the line that pins it."""
    info = f"ob_single-{version}.dist-info"
    path = directory / f"ob_single-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("ob_single/__init__.py", "")
        wheel.writestr("ob_single/voice.onnx", b"voice")
        wheel.writestr("ob_single/voice.json", b"{}")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: ob-single\nVersion: {version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return f"ob-single=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def local_index(packages, tmp_path, monkeypatch):
    """Pip installs into ``packages`` what lies in a directory; nothing comes from elsewhere."""
    index = tmp_path / "index"
    index.mkdir()
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(index),
        "PIP_NO_INDEX": "1",
        "PIP_TARGET": str(packages),
        "PIP_UPGRADE": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(store, "PINS", tmp_path / "models.txt")
    return index


@pytest.mark.slow
def test_fetch_installs_over_a_damaged_file(packages, local_index):
    store.PINS.write_text(_wheel(local_index, "1.0"))
    (packages / "ob_single" / "voice.onnx").write_bytes(b"noise")
    lines = []
    store.fetch(["single"], lines.append)
    assert store.locate("single").read_bytes() == b"voice"
    assert any(line.startswith("Successfully installed ob-single-1.0") for line in lines)


@pytest.mark.slow
def test_fetch_refuses_a_wheel_with_another_hash(packages, local_index):
    store.PINS.write_text(_wheel(local_index, "1.0").replace("sha256:", "sha256:0000")[:-4])
    (packages / "ob_single" / "voice.json").unlink()
    with pytest.raises(ModelError, match="DO NOT MATCH THE HASHES"):
        store.fetch(["single"])


@pytest.mark.slow
def test_fetching_without_a_network_says_what_to_do(local_index, packages):
    store.PINS.write_text("ob-single==1.0 --hash=sha256:" + 64 * "0")
    (packages / "ob_single" / "voice.json").unlink()
    lines = []
    with pytest.raises(ModelError, match="connect to the network") as caught:
        store.fetch(["single"], lines.append)
    assert "No matching distribution found for ob-single==1.0" in str(caught.value)
    assert any("No matching distribution" in line for line in lines)


@pytest.fixture
def taken_out(local_index, monkeypatch):
    """A model that lies in the wheel of a program."""
    model = Model(
        name="melody",
        role="turn",
        packages=(),
        files=(_file("voice.onnx", b"voice", ("ob-single", "ob_single/voice.onnx")),),
        licence="MIT",
        source="made by this test",
        entry="voice.onnx",
        wheel=_wheel(local_index, "2.0"),
    )
    monkeypatch.setitem(OPTIONAL, "melody", model)
    return model


@pytest.mark.slow
def test_a_model_is_taken_out_of_a_wheel_that_is_not_installed(packages, taken_out):
    with pytest.raises(
        ModelError, match=r"was not fetched yet; run: \S*onebreath models --fetch melody"
    ):
        store.locate("melody")
    store.fetch(["melody"])
    path = store.locate("melody")
    assert path == store.cache_dir() / "melody" / "voice.onnx"
    assert path.read_bytes() == b"voice"
    assert [entry.name for entry in path.parent.iterdir()] == ["voice.onnx"]
    assert not list(packages.glob("ob_single-2.0*"))


@pytest.mark.slow
def test_a_damaged_file_that_was_taken_out_is_fetched_again(taken_out):
    store.fetch(["melody"])
    store.locate("melody").write_bytes(b"noise")
    [problem] = store.problems("melody")
    assert "is damaged" in problem
    store.fetch(["melody"])
    store.verify("melody")


@pytest.mark.slow
def test_a_wheel_without_the_file_says_so(taken_out, monkeypatch):
    other = _file("voice.onnx", b"voice", ("ob-single", "ob_single/gone.onnx"))
    monkeypatch.setitem(OPTIONAL, "melody", replace(taken_out, files=(other,)))
    with pytest.raises(ModelError, match=r"cannot be taken out of ob-single==2.0 .*gone\.onnx"):
        store.fetch(["melody"])


def test_what_is_optional_is_no_default_and_pinned_by_hash():
    assert not OPTIONAL.keys() & store.MODELS.keys()
    for model in OPTIONAL.values():
        assert model.wheel is not None
        assert "==" in model.wheel
        assert " --hash=sha256:" in model.wheel


def test_every_default_model_is_pinned_by_hash():
    packages = {package for model in store.MODELS.values() for package in model.packages}
    pinned = [line for line in store.PINS.read_text().splitlines() if not line.startswith("#")]
    assert len(pinned) == len(packages)
    for package in packages:
        assert " --hash=sha256:" in store.requirement(package)


@pytest.mark.model
@pytest.mark.parametrize("name", ["whisper-base", "smollm2-135m-instruct", "joe"])
def test_the_default_models_are_whole(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ONEBREATH_MODELS", str(tmp_path))
    store.verify(name)
    path = store.locate(name)
    assert path.exists()
    store.verify(name)
