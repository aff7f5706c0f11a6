"""Choice of an operation's implementation: the Triton kernel or plain torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Generic, Literal, ParamSpec, TypeVar, cast

from torch import Tensor

from dllm_core.errors import OptionError

P = ParamSpec("P")
R = TypeVar("R")

_forced: ContextVar[Literal["kernel", "reference"] | None] = ContextVar("forced", default=None)


def available() -> bool:
    """Whether Triton is installed, so that kernels can run at all."""
    return find_spec("triton") is not None


@contextmanager
def kernels() -> Iterator[None]:
    """Run the kernels on all tensors; on those of the CPU this needs Triton's interpreter."""
    yield from _force("kernel")


@contextmanager
def references() -> Iterator[None]:
    """Run plain torch on all tensors."""
    yield from _force("reference")


def _force(which: Literal["kernel", "reference"]) -> Iterator[None]:
    token = _forced.set(which)
    try:
        yield
    finally:
        _forced.reset(token)


class Operation(Generic[P, R]):
    """A function of tensors with two implementations of the same signature.

    The device of the first argument, a tensor, decides, unless `kernels()` or `references()` is in
    force. `kernel` is `module:function`; the module imports Triton, so it is loaded on first use.
    """

    def __init__(self, reference: Callable[P, R], kernel: str) -> None:
        self.reference = reference
        self._path = kernel
        self.__doc__ = reference.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        chosen = self.kernel if self._on_device(args[0]) else self.reference
        return chosen(*args, **kwargs)

    @staticmethod
    def _on_device(first: object) -> bool:
        forced = _forced.get()
        if forced is not None:
            return forced == "kernel"
        return cast(Tensor, first).is_cuda

    @cached_property
    def kernel(self) -> Callable[P, R]:
        """The implementation in Triton.

        Raises:
            OptionError: Triton is not installed.
        """
        if not available():
            raise OptionError(
                "The GPU kernels are written in Triton, which is not installed: on Linux, "
                f"{sys.executable} -m pip install 'triton>=3.6'; elsewhere wrap the call in "
                "ops.references()."
            )
        module, _, name = self._path.partition(":")
        return cast(Callable[P, R], getattr(import_module(module), name))
