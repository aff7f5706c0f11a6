"""Replies token by token, to compare diffusion replies with.

A GGUF file runs on dllm_core's own transformer, one token per forward pass: transformers would
unpack its weights to float32, and the comparison would be one of kernels instead of the order in
which tokens are found. Every other causal checkpoint runs on transformers' class for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent.responders.base import FunctionTool, Responder, ResponderCall, WaitingCall, uses_tools
from agent.responders.causal import CausalResponder
from agent.responders.diffusion import DiffusionResponder
from dllm_core.config import DecodeOptions
from dllm_core.model.place import Dtype

TOKEN_BY_TOKEN = DecodeOptions(rule="fixed_point", canvas_length=1)
"""The fixed-point rule over one position is greedy autoregression."""


class AutoregressiveResponder:
    """A loaded causal model, shared by all calls; each call owns its keys and values.

    Args:
        source: a GGUF file, or a directory or Hugging Face name that transformers'
            `AutoModelForCausalLM` reads.
        dtype: int4 or int8 (GGUF on a CPU), bfloat16, float32, or `auto` for the first that suits.
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
        threads: CPU threads of one operation, for the whole process; None leaves them.
        max_tokens: longest reply, in tokens; it is cut at the end of a sentence where there is one.
        progress: called with the share done (0 to 1) and the present work.

    Raises:
        ResponderError: the model could not be loaded; the message says what to do.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dtype: Dtype = "auto",
        device: str = "auto",
        threads: int | None = None,
        max_tokens: int = 64,
        progress: Callable[[float, str], None] | None = None,
    ) -> None:
        self._runs_on: Responder
        if Path(source).suffix == ".gguf":
            self._runs_on = DiffusionResponder(
                source,
                dtype=dtype,
                device=device,
                threads=threads,
                max_tokens=max_tokens,
                options=TOKEN_BY_TOKEN,
                progress=progress,
            )
        else:
            self._runs_on = CausalResponder(
                source,
                dtype=dtype,
                device=device,
                threads=threads,
                max_tokens=max_tokens,
                progress=progress,
            )

    @property
    def uses_tools(self) -> bool:
        """Whether the model runs on the engine, which chooses and fills function tools."""
        return uses_tools(self._runs_on)

    def refuses(self, tool: FunctionTool) -> str | None:
        """Why a function of such a schema cannot be called; None if it can."""
        refuses = getattr(self._runs_on, "refuses", None)
        problem: str | None = None if refuses is None else refuses(tool)
        return problem

    def open(self) -> ResponderCall | WaitingCall:
        return self._runs_on.open()

    def warm_up(self) -> None:
        self._runs_on.warm_up()

    def close(self) -> None:
        self._runs_on.close()
