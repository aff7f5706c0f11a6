"""The steps of one reply that is denoised on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

from dllm_core.config import DecodeOptions
from dllm_core.decode.canvas import CanvasView
from dllm_core.decode.reply_steps import ReplySteps
from dllm_core.decode.stats import DenoiseStep, PrefillStats
from dllm_core.gpu.device import Device
from dllm_core.gpu.device_batch import CanvasTicket
from dllm_core.gpu.device_job import CanvasJob
from dllm_core.model.paged_cache import PagedCache
from dllm_core.model.tokenizer import Tokenizer


class DeviceSteps(Iterator[DenoiseStep]):
    """As `Engine.submit` promises. The first canvas has joined the batch when this exists.

    The constructor reads the prompt and submits the first canvas. Each round yields one step, the
    canvas after the round; with `every_step` it yields all of them, which the device records in
    any case and returns in the same copy.
    """

    def __init__(
        self,
        device: Device,
        tokenizer: Tokenizer,
        ids: Sequence[int],
        cache: PagedCache,
        options: DecodeOptions,
        due: float | None = None,
    ) -> None:
        self._device, self._ids, self._cache, self._options = device, list(ids), cache, options
        prefill: PrefillStats = device.read(ids, cache, options)
        self._telling = ReplySteps(device.config, tokenizer, options.max_tokens, cache, prefill)
        late = options.deadline_ms
        self._due = due
        self._deadline = None if late is None else perf_counter() + late / 1e3
        self._before, self._over = CanvasView((), (), ()), False
        self._planned = options.steps if options.counts_steps and late is None else None
        self._ready: list[DenoiseStep] = []
        self._told = 0
        self._closed = False
        self._ticket = self._submit()

    def _submit(self) -> CanvasTicket:
        before = self._before
        room = self._options.max_tokens - len(before.ids)
        now = self._options if before.ids else self._options.for_first_canvas()
        length = min(room, now.canvas_length)
        job = CanvasJob(
            self._device.model,
            self._cache,
            [*self._ids, *before.ids],
            length,
            now,
            follows=bool(before.ids),
        )
        canvases = 1 + -(-(room - length) // self._options.canvas_length)
        self._told = 0
        return self._device.submit(job, self._due, self._deadline, canvases)

    def __next__(self) -> DenoiseStep:
        if not self._ready:
            if self._closed or self._over:
                raise StopIteration
            if self._ticket.work.job.done:
                self._ticket = self._submit()
            self._device.advance(self._ticket)
            self._ready = list(self._news())
            if not self._ready:
                raise StopIteration
        return self._ready.pop(0)

    def _news(self) -> Iterator[DenoiseStep]:
        ticket, new = self._ticket, self._ticket.work.views[self._told :]
        self._told = len(ticket.work.views)
        if new and not self._options.every_step:
            total = sum(ms for _, ms in new)
            yield self._tell(new[-1][0], total, len(new), ticket.work.job.done)
            return
        for i, (view, ms) in enumerate(new, 1):
            yield self._tell(view, ms, 1, ticket.work.job.done and i == len(new))

    def _tell(self, view: CanvasView, ms: float, forwards: int, done: bool) -> DenoiseStep:
        open_at = view.masked.index(True) if True in view.masked else len(view.ids)
        reply, final = self._before + view, [*self._before.ids, *view.ids[:open_at]]
        self._over = done and self._telling.is_whole(final)
        if done:
            self._before = reply
        return self._telling.tell(
            reply, final, over=self._over, planned=self._planned, ms=ms, forwards=forwards
        )

    def close(self) -> None:
        """Leave the batch; on return no round includes this sequence."""
        self._closed = True
        self._ticket.cancel()
        with self._device.turn():
            pass
