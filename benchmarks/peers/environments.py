"""Environments of the peers: each its own, outside the repository, made once."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment and the packages installed in it.

    Attributes:
        name: name of its directory.
        installs: arguments of each run of `pip install`, in order.
        package: the peer's own package, whose version is reported.
    """

    name: str
    installs: tuple[tuple[str, ...], ...]
    package: str

    def python(self, cache: Path) -> str:
        return str(cache / self.name / "bin" / "python")

    def ensure(self, cache: Path) -> None:
        """Install missing packages; the first time takes minutes and needs a network.

        Raises:
            subprocess.CalledProcessError: pip failed, after printing the reason.
        """
        wanted = repr(self.installs)
        mark = cache / self.name / "installed.txt"
        if mark.is_file() and mark.read_text() == wanted:
            return
        if not Path(self.python(cache)).exists():
            venv.create(cache / self.name, with_pip=True)
        for packages in self.installs:
            command = [
                self.python(cache),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--progress-bar=off",
                *packages,
            ]
            subprocess.run(command, check=True, stdout=sys.stderr)
        mark.write_text(wanted)

    def version(self, cache: Path) -> str:
        """Version of the peer's own package."""
        (found,) = importlib.metadata.distributions(
            name=self.package, path=[str(site_packages(cache / self.name))]
        )
        return found.version


def site_packages(environment: Path) -> Path:
    (found,) = environment.glob("lib/python*/site-packages")
    return found


LLAMA_CPP = Environment(
    "llamacpp", (("llama-cpp-python[server]==0.3.36",),), "llama-cpp-python"
)  # built from source: ten minutes on two cores

PIPECAT = Environment(
    "pipecat",
    (("pipecat-ai[websocket,whisper,piper,openai,silero]==1.14.0",),),
    "pipecat-ai",
)

# Without its speech models for GPUs, which the work here does not use.
SPEECH_TO_SPEECH = Environment(
    "s2s",
    (
        ("torch==2.13.0",),
        ("--no-deps", "speech-to-speech==1.1.0", "silero-vad==6.2.3"),
        (
            *("anyio<5", "fastapi", "faster-whisper>=1.0.3", "httpx", "huggingface-hub"),
            *("jsonschema", "librosa==0.11.0", "lingua-language-detector", "nltk==3.10.3", "numpy"),
            *("onnxruntime", "openai==2.28.0", "pillow", "piper-tts", "pydantic", "PyYAML", "rich"),
            *("scipy", "sounddevice", "soundfile", "soxr", "transformers>=5.18,<6", "uvicorn"),
            *("websockets",),
        ),
    ),
    "speech-to-speech",
)
