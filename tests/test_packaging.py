"""The names agent, asr, tts and so on are common words: these tests guard against the
wrong package being imported, and against files that get lost on the way into the wheel."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agent", "asr", "tts", "dllm_core", "web_client")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_package_is_the_one_of_this_repository(package):
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin == str(ROOT / package / "__init__.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    directory = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = directory.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.mark.slow
def test_the_wheel_holds_exactly_the_files_of_the_five_packages(wheel):
    # New files count before they are committed; deleted ones no longer do.
    paths = ["onebreath.py", *PACKAGES]
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "--", *paths)
    expected = {name for name in listed if (ROOT / name).is_file()}
    info = f"onebreath-{PROJECT['version']}.dist-info/"
    shipped = {name for name in wheel.namelist() if not name.startswith(info)}
    assert shipped == expected


@pytest.mark.slow
def test_the_wheel_carries_types_pins_and_licences(wheel):
    names = wheel.namelist()
    assert {f"{package}/py.typed" for package in PACKAGES} < set(names)
    assert "agent/models/models.txt" in names
    for name in ("LICENSE", "THIRD_PARTY.md"):
        assert any(shipped.endswith(f".dist-info/licenses/{name}") for shipped in names)


HEAVY = ("torch", "transformers", "faster_whisper", "ctranslate2", "onnxruntime", "piper")


@pytest.mark.parametrize(
    "module", ["agent.models.store", "agent.doctor.checks", "agent.runtime.threads"]
)
def test_starting_up_imports_no_engine(module):
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_version_is_that_of_the_changelog():
    text = (ROOT / "CHANGELOG.md").read_text()
    latest = re.search(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert latest is not None
    assert latest.group(1) == PROJECT["version"]


def _declared(*extras: str) -> set[str]:
    """Names of the packages that the extras ask for; "" means the plain installation."""
    groups = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    return {Requirement(line).name for extra in extras for line in groups[extra]}


def _imports(source: str) -> set[str]:
    """Top-level names that a module imports, also inside functions."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.append(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.slow
def test_every_package_that_is_imported_is_declared():
    declared = {
        canonicalize_name(name)
        for name in _declared("", "gpu", "adapt", "browser", "hosted", "lab", "mcp", "otel", "ray")
    }
    known = {*sys.stdlib_module_names, *PACKAGES}
    providers = packages_distributions()
    undeclared = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for name in _imports(path.read_text()) - known:
                if not declared & set(map(canonicalize_name, providers.get(name, [name]))):
                    undeclared[str(path)] = name
    assert undeclared == {}


def test_every_requirement_is_constrained_and_credited():
    pins = (ROOT / "constraints.txt").read_text()
    # The gpu extra is left out: its version belongs to the CUDA build of torch.
    assert [
        name
        for name in sorted(
            _declared("", "dev", "adapt", "browser", "hosted", "lab", "mcp", "otel", "ray")
        )
        if f"\n{name}==" not in pins
    ] == []
    credits = (ROOT / "THIRD_PARTY.md").read_text()
    assert [
        name
        for name in sorted(
            _declared("", "gpu", "adapt", "browser", "hosted", "lab", "mcp", "otel", "ray")
        )
        if f"| {name} |" not in credits
    ] == []


def test_every_locked_package_has_hashes_and_the_version_of_the_constraints():
    root = Path(__file__).parent.parent
    lock = (root / "requirements.lock").read_text()
    assert "://" not in lock
    blocks = re.split(r"\n(?=[a-z0-9])", "\n" + re.sub(r"^#.*\n", "", lock, flags=re.M))[1:]
    locked = dict(re.match(r"([a-z0-9.-]+)==([^ ;\\]+)", block).groups() for block in blocks)
    assert all("--hash=sha256:" in block for block in blocks)
    constraints = (root / "constraints.txt").read_text().split()
    wanted = dict(line.split("==") for line in constraints if "==" in line)
    differing = {n for n, v in locked.items() if wanted.get(n, v).partition("+")[0] != v}
    assert not differing
    named = re.findall(r'^    "([a-z0-9-]+)[>=]', _base_dependencies(root), re.M)
    assert named
    assert set(named) <= set(locked)


def _base_dependencies(root):
    text = (root / "pyproject.toml").read_text()
    return text.partition("\ndependencies = [")[2].partition("\n]")[0]
