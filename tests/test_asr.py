"""The name table of the recognisers."""

from __future__ import annotations

import subprocess
import sys

import pytest

import asr
from asr.scripted import ScriptedTranscriber


def test_a_recogniser_is_loaded_by_its_short_name() -> None:
    assert isinstance(asr.load("scripted", utterances=[[(0, "yes")]]), ScriptedTranscriber)


def test_a_recogniser_is_loaded_by_module_and_class() -> None:
    assert isinstance(asr.load("asr.scripted:ScriptedTranscriber"), ScriptedTranscriber)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(asr.AsrError, match=r"'wisper'.*scripted, whisper"):
        asr.load("wisper")


@pytest.mark.parametrize("path", ["no_such_module:Class", "asr.scripted:NoSuchClass"])
def test_a_path_that_leads_nowhere_is_named(path: str) -> None:
    with pytest.raises(asr.AsrError, match=path):
        asr.load(path)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(asr.AsrError, match="beams"):
        asr.load("scripted", beams=4)


def test_importing_the_package_loads_no_model_library() -> None:
    heavy = {"torch", "ctranslate2", "faster_whisper", "onnxruntime", "av"}
    program = f"import asr, sys; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
