"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.models import store
from agent.runtime.threads import calm
from dllm_core.ops.interpret import interpret_without_gpu

# Before any engine is imported: thread pools that spin slow each other down.
calm()
# Before Triton is imported, which then decides how its kernels run.
interpret_without_gpu()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-live", action="store_true", help="run every scenario in real time, too")


@pytest.fixture(scope="session")
def whisper_base_dir() -> Path:
    """Directory of Whisper base for CTranslate2."""
    return store.locate("whisper-base")
