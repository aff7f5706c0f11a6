"""The contract between the engine and the back ends that batch its requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dllm_core.config import DecodeOptions
from dllm_core.decode.reply_steps import Steps
from dllm_core.decode.stats import PrefillStats
from dllm_core.model.cache import PromptCache
from dllm_core.model.paged_cache import PagedCache

Cache = PromptCache | PagedCache
"""The token ids that one sequence has read, and their keys and values."""


class Backend(Protocol):
    """Reads prompts and denoises replies; all requests submitted to it share its batch.

    There are two: `HostBackend` (decode/host_backend.py) runs any rule step by step on the
    device of the weights, `PagedBackend` (gpu/paged_backend.py) runs rounds over pages of a GPU.
    Arguments and errors are those of the `Engine` methods of the same names.
    """

    def serves(self, cache: Cache, options: DecodeOptions | None) -> bool:
        """Whether this back end can denoise the sequence of `cache` with these options."""

    def new_cache(self) -> Cache:
        """An empty cache for one sequence."""

    @property
    def can_share(self) -> bool:
        """Whether caches to come can begin with a common prefix, before it has been read."""

    def share(self, ids: Sequence[int]) -> None:
        """Read the common prefix of all prompts to come."""

    def prefill(self, ids: Sequence[int], cache: Cache) -> PrefillStats:
        """Read a prompt that may still grow."""

    def read(self, ids: Sequence[int], cache: Cache, options: DecodeOptions) -> PrefillStats:
        """Read as much of a complete prompt as the rule and the cache policy can use."""

    def submit(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions, due: float | None
    ) -> Steps:
        """Add a reply to the batch; `due` is in seconds of `time.monotonic`."""

    def prepare(self, options: DecodeOptions) -> list[str]:
        """Compile kernels or graphs for replies with these options; returns lines to log."""

    def measure(self, options: DecodeOptions) -> None:
        """Measure the costs that such replies decide by, after everything has run once."""
