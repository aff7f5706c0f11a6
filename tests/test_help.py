"""`help()` on the public classes names every field and argument."""

import inspect
from dataclasses import fields, is_dataclass

import pytest

import dllm_core
from dllm_core import Engine
from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.denoise import Forward
from dllm_core.decode.requests import Ticket
from dllm_core.decode.schedule import CostModel, Deadline
from dllm_core.model.lora import Adapter, DenoiserSettings
from dllm_core.tasks.guided import DraftRound, Guided

PUBLIC = [getattr(dllm_core, name) for name in dllm_core.__all__]
DATACLASSES = [
    *(kind for kind in PUBLIC if is_dataclass(kind)),
    *(Adapter, CanvasView, CostModel, Deadline, DenoiserSettings, DraftRound, Forward, Ticket),
]


def entries(kind: type) -> set[str]:
    """Names that stand before a colon at the beginning of a line of the docstring."""
    lines = (line.strip() for line in (inspect.getdoc(kind) or "").splitlines())
    heads = (line.split(": ")[0] for line in lines if ": " in line)
    return {name.strip() for head in heads for name in head.split(",")}


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_every_field_of_a_public_dataclass_is_in_its_docstring(kind: type) -> None:
    names = {field.name for field in fields(kind)}
    assert names - entries(kind) == set()


def test_public_dataclasses_are_found() -> None:
    assert {"DecodeOptions", "ModelConfig", "DenoiseStep"} <= {k.__name__ for k in DATACLASSES}


@pytest.mark.parametrize("function", [Engine.load, Engine.submit, Engine.use_pages])
def test_every_argument_of_the_engine_is_in_the_docstring(function: object) -> None:
    names = set(inspect.signature(function).parameters) - {"self", "cls"}  # type: ignore[arg-type]
    assert names - entries(function) == set()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Engine, Guided])
def test_every_argument_of_a_public_class_is_in_its_docstring(kind: type) -> None:
    names = set(inspect.signature(kind).parameters)
    assert names - entries(kind) == set()
