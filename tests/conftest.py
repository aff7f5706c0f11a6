"""What all test modules share: thread pools of one thread, fixtures, options."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support import transports
from support.groups import arrange
from support.repeats import mark

from agent.models import store
from agent.runtime.threads import calm

# Before any engine is imported: the pools of OpenMP and of BLAS read this once, when they are
# loaded, and started servers and commands inherit it. A second thread does not help a tiny model,
# and it takes the core of the test worker that runs beside this one.
calm()
for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(pool, "1")
# Tests pack weights anew, and leave none in the user's cache directory.
os.environ.setdefault("ONEBREATH_PACKED_WEIGHTS", "off")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-live", action="store_true", help="run every scenario in real time, too")


def pytest_configure(config: pytest.Config) -> None:
    """Before Triton is imported, which then decides how its kernels run.

    The process that hands tests to workers runs none: without torch it starts them sooner.
    """
    if config.getoption("dist", "no") != "no":
        return
    from dllm_core.ops.interpret import interpret_without_gpu

    interpret_without_gpu()
    transports.watch()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before tests are chosen by their marks, and grouped by pytest-xdist."""
    mark(items)
    if hasattr(config, "workerinput"):
        arrange(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """After its fixtures, a test's event loops are closed."""
    yield
    if left := transports.taken():
        pytest.fail("connections were left open: " + "; ".join(left), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def one_trust_store() -> Iterator[None]:
    """Clients of httpx share one context of TLS, which reads certifi's bundle once."""
    with pytest.MonkeyPatch.context() as patch:
        if transports := sys.modules.get("httpx._transports.default"):
            patch.setattr(transports, "create_ssl_context", cache(transports.create_ssl_context))
        yield


class Often:
    """The asyncio of uvicorn's server, which polls for its end ten times as often."""

    def __getattr__(self, name: str) -> object:
        return getattr(asyncio, name)

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(delay / 10)


@pytest.fixture(scope="session", autouse=True)
def servers_end_soon() -> Iterator[None]:
    """A test with a server waits some 30 ms for its end instead of 0.3 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uvicorn.server.asyncio", Often())
        yield


@pytest.fixture(autouse=True)
def torch_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """One thread for torch, whatever an earlier test has set; `threads(n)` marks exceptions."""
    import torch

    marker = request.node.get_closest_marker("threads")
    torch.set_num_threads(1 if marker is None else marker.args[0])
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def whisper_base_dir() -> Path:
    """Directory of Whisper base for CTranslate2."""
    return store.locate("whisper-base")
