"""The back end of a GPU: replies under way share rounds over pages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic, perf_counter

from dllm_core.config import DecodeOptions
from dllm_core.decode.backend import Cache
from dllm_core.decode.stats import PrefillStats
from dllm_core.gpu.device import Device, objection
from dllm_core.gpu.device_steps import DeviceSteps
from dllm_core.model.paged_cache import PagedCache
from dllm_core.model.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


class PagedBackend:
    """Denoises in rounds on a `Device` (docs/gpu.md); safe to use from several threads.

    Rules and cache policies that the device does not run are left to the host; the log says so
    once for each reason.
    """

    def __init__(self, device: Device, tokenizer: Tokenizer) -> None:
        self.device = device
        self._tokenizer = tokenizer
        self._logged: set[str] = set()

    def serves(self, cache: Cache, options: DecodeOptions | None) -> bool:
        """Whether `cache` lies in pages and the device runs `options`; None stands for any."""
        if not isinstance(cache, PagedCache):
            return False
        reason = None if options is None else objection(self.device.config, options)
        if reason is not None and reason not in self._logged:
            self._logged.add(reason)
            _log.warning("Replies run step by step without CUDA graphs: %s.", reason)
        return reason is None

    def new_cache(self) -> PagedCache:
        """See `Engine.new_cache`."""
        return self.device.new_cache()

    @property
    def can_share(self) -> bool:
        """Whether no common prefix has been read yet."""
        return not self.device.shares and self.device.config.attention != "bidirectional"

    def share(self, ids: Sequence[int]) -> None:
        """See `Engine.share`."""
        self.device.share(ids)

    def prefill(self, ids: Sequence[int], cache: Cache) -> PrefillStats:
        """See `Engine.prefill`."""
        return self.device.prefill(ids, _paged(cache))

    def read(self, ids: Sequence[int], cache: Cache, options: DecodeOptions) -> PrefillStats:
        """See `Engine.read`."""
        return self.device.read(ids, _paged(cache), options)

    def submit(
        self, ids: Sequence[int], cache: Cache, options: DecodeOptions, due: float | None
    ) -> DeviceSteps:
        """See `Engine.submit`."""
        if due is not None:  # the device's clock is perf_counter
            due += perf_counter() - monotonic()
        return DeviceSteps(self.device, self._tokenizer, ids, _paged(cache), options, due)

    def prepare(self, options: DecodeOptions) -> list[str]:
        """Capture the rounds of these options as graphs, which measures their steps as well."""
        return self.device.warm_up(options)

    def measure(self, options: DecodeOptions) -> None:
        """Measure nothing: `prepare` has done so."""


def _paged(cache: Cache) -> PagedCache:
    """A cache that this back end serves."""
    assert isinstance(cache, PagedCache)
    return cache
