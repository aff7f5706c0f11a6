"""Replies on a GPU: pages, rounds, graphs and the batch, behind the engine's own interface.

Rules and cache policies without an implementation on the device run step by step as on a CPU, in a
cache of their own; the log says so once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import RLock
from time import perf_counter

import torch

from dllm_core.config import DecodeOptions, ModelConfig
from dllm_core.decode.schedule import CostModel
from dllm_core.decode.stats import PrefillStats
from dllm_core.errors import DllmError
from dllm_core.gpu.device_batch import MOST_SEQUENCES, STEPS_OF_A_ROUND, CanvasTicket, DeviceBatch
from dllm_core.gpu.device_job import CanvasJob, read, round_options_of
from dllm_core.gpu.device_round import DeviceRound, RoundShape, runs_lead
from dllm_core.gpu.graphs import CudaRecorder, Graphs, Recorder
from dllm_core.gpu.paged_model import PagedModel
from dllm_core.gpu.tuning import tune
from dllm_core.model.cache import reusable
from dllm_core.model.paged_cache import PagedCache, PagePool
from dllm_core.model.pages import pages_for
from dllm_core.model.transformer import Transformer
from dllm_core.ops import PAGE

_log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds to wait for the device before an error is raised."""

KEEP_FREE = 2**30
"""Bytes of the device's memory that capturing graphs leaves free."""

MOST_POSITIONS = 256
"""Longest canvas in positions: one program of the commit kernel orders all of them."""

CAPTURED_BATCHES = (1, 2, 4, 8, 16, 32, 64)
CAPTURED_CONTEXTS = (640, 1152)
"""Positions: 512 and 1024 tokens of a prompt with two canvases of 64; the context of the engine is
added."""

_MEASURED_BATCH = 2
"""Largest batch whose steps are measured for the cost model of a single reply."""

_COEFFICIENTS = 3
"""Number of coefficients of the cost model, which is fitted to more shapes than that."""


def objection(config: ModelConfig, options: DecodeOptions) -> str | None:
    """Reason why these options do not run in rounds on the device; None if they do."""
    frozen = config.attention == "bidirectional"
    if options.rule not in ("quota", "threshold"):
        return f"the rule {options.rule} runs on the host"
    if frozen and options.cache != "prompt_frozen":
        return f"the cache policy {options.cache} computes the prompt again"
    if not frozen and options.cache not in ("auto", "exact"):
        return f"the cache policy {options.cache} computes the prompt again"
    if options.block_length is not None:
        return "a canvas on the device is one block, unless the model has blocks of its own"
    if config.sub_block_length is not None or config.leads_blocks:
        return "blocks in parts run on the host"
    if config.pads_prompts and config.by_blocks:
        return "blocks that are counted from the end of a prompt run on the host"
    if options.canvas_length > MOST_POSITIONS:
        return f"a canvas of more than {MOST_POSITIONS} positions runs on the host"
    plain = DecodeOptions()
    for name in ("confidence", "timesteps", "guidance", "temperature", "top_p", "top_k"):
        value = getattr(options, name)
        if value != getattr(plain, name):
            return f"{name}={value} runs on the host"
    return None


class Device:
    """A model on a GPU with the state that its sequences share. Thread-safe, one user at a time."""

    def __init__(
        self,
        model: Transformer,
        context: int,
        pages: int,
        recorder: Recorder | None = None,
        sequences: int = MOST_SEQUENCES,
    ) -> None:
        device = model.embedding.device
        self.config, self.context = model.config, context
        self.pool = PagePool(model.config, pages, model.embedding.dtype, device)
        self.model = PagedModel(model, self.pool)
        cuda = device.type == "cuda"
        self.graphs = Graphs(CudaRecorder(device) if cuda and not recorder else recorder, KEEP_FREE)
        self.batch = DeviceBatch(self.model, self.graphs, CostModel(), size=sequences)
        # Not the legacy default stream, on which it would wait for the recogniser's work.
        self._stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        if self._stream is not None:
            # Weights and the zeros of the pages may still be on their way on the stream before.
            self._stream.wait_stream(torch.cuda.current_stream(device))
        self._lock = RLock()
        self._common: PagedCache | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Reserve the device for the calling thread.

        Raises:
            DllmError: another thread has had it for more than `PATIENCE` seconds.
        """
        if not self._lock.acquire(timeout=PATIENCE):
            raise DllmError(f"The device has been busy for {PATIENCE:.0f} s: restart the engine.")
        stream = nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        try:
            with stream, torch.inference_mode():
                yield
        finally:
            self._lock.release()

    def new_cache(self) -> PagedCache:
        """Make the cache of a sequence; it begins with the shared prefix of all prompts.

        Raises:
            PagesFullError: the device has no room for another sequence.
        """
        with self.turn():
            return PagedCache(self.pool, self.context, self._common)

    def share(self, ids: Sequence[int]) -> None:
        """Read the shared prefix of all prompts once, for all sequences to come.

        Raises:
            PromptTooLongError, PagesFullError: it does not fit.
        """
        if self.config.attention == "bidirectional":
            return  # its keys would depend on the rest of each prompt
        with self.turn():
            before, self._common = self._common, None
            if before is not None:
                before.close()
            whole = ids[: len(ids) // self._block * self._block]
            common = PagedCache(self.pool, max(1, len(whole)))
            read(self.model, common, whole, lead=False)
            self._common = common

    @property
    def shares(self) -> bool:
        """Whether there is a shared prefix."""
        return self._common is not None

    @property
    def _block(self) -> int:
        return self.config.block_length if self.config.attention == "block_causal" else 1

    def prefill(self, ids: Sequence[int], cache: PagedCache) -> PrefillStats:
        """Read `ids` into the cache; see `Engine.prefill`."""
        begin = perf_counter()
        if self.config.attention == "bidirectional":
            return PrefillStats(0, 0, 0.0)
        with self.turn():
            whole = ids[: len(ids) // self._block * self._block]
            shared = read(self.model, cache, whole, lead=False)
            self._wait()
        return PrefillStats(shared, len(whole) - shared, (perf_counter() - begin) * 1e3)

    def read(self, ids: Sequence[int], cache: PagedCache, options: DecodeOptions) -> PrefillStats:
        """Read as much of `ids` as the first canvas after them needs; see `Engine.read`."""
        begin = perf_counter()
        with self.turn():
            known = ids[:-1] if runs_lead(self.config) else ids
            shared = reusable(self.config, cache.ids, cache.whole, known)
            length = options.for_first_canvas().canvas_length
            CanvasJob(self.model, cache, ids, length, options).prepare()
            self._wait()
        new = max(0, len(cache) - shared)
        return PrefillStats(min(shared, len(cache)), new, (perf_counter() - begin) * 1e3)

    def _wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    def submit(
        self,
        job: CanvasJob,
        due: float | None = None,
        deadline: float | None = None,
        canvases: int = 1,
    ) -> CanvasTicket:
        """See DeviceBatch.submit."""
        with self.turn():
            return self.batch.submit(job, due, deadline, canvases)

    def advance(self, ticket: CanvasTicket) -> None:
        """Run one round with this ticket, unless another caller's round has had it on board.

        Raises:
            PromptTooLongError, PagesFullError: its prompt cannot be read.
        """
        seen = len(ticket.work.views)
        while len(ticket.work.views) == seen and not ticket.over:
            with self.turn():
                if len(ticket.work.views) == seen and not ticket.over:
                    self.batch.step(ticket)
        if ticket.error is not None:
            raise ticket.error

    def warm_up(
        self,
        options: DecodeOptions,
        batches: Sequence[int] = CAPTURED_BATCHES,
        contexts: Sequence[int] = CAPTURED_CONTEXTS,
    ) -> list[str]:
        """Choose matrix products, capture rounds and measure steps.

        Rounds are captured for the canvases of `options`, with its number of steps and half of it.

        Args:
            batches: numbers of sequences.
            contexts: numbers of positions, prompt and canvas together; larger ones than the
                engine's context are reduced to it.

        Returns:
            Lines of a report for the log.
        """
        contexts = sorted({min(context, self.context) for context in (*contexts, self.context)})
        with self.turn():
            shapes = list(self._shapes(options, batches, contexts))
            if self._stream is not None:
                lead = int(runs_lead(self.config))
                tune(self.model, {shape.batch * (shape.canvas + lead) for shape in shapes})
            measured = []
            for shape in shapes:
                work = DeviceRound(self.model, shape, round_options_of(options))
                work.write(work.full())
                self.graphs.capture(work)
                if shape.batch <= _MEASURED_BATCH:
                    measured.append((work.rows, shape.pages * PAGE, self._step_ms(work)))
            if len({shape[:2] for shape in measured}) > _COEFFICIENTS:
                self.batch.cost = CostModel.fitted(measured)
        return self.graphs.report()

    def _shapes(
        self, options: DecodeOptions, batches: Sequence[int], contexts: Sequence[int]
    ) -> Iterator[RoundShape]:
        kinds = {one.canvas_length: one for one in (options, options.for_first_canvas())}
        for canvas, one in sorted(kinds.items()):
            columns = self._block if self._block > 1 else canvas
            for batch in sorted(batches):
                for context in contexts:
                    for steps in _step_counts(one, canvas, columns):
                        yield RoundShape(batch, columns, pages_for(context, PAGE), steps)

    def _step_ms(self, work: DeviceRound) -> float:
        """Milliseconds of one step with all entries in use: the lesser of two rounds."""
        times = []
        for _ in range(2):
            begin = perf_counter()
            work.write(entries := work.full())
            self.graphs.runner(work)()
            work.read(entries)
            times.append((perf_counter() - begin) * 1e3 / work.shape.steps)
        return min(times)


def _step_counts(options: DecodeOptions, canvas: int, columns: int) -> list[int]:
    """Numbers of steps of the rounds to capture, ascending."""
    if options.rule == "threshold":
        return [min(STEPS_OF_A_ROUND, columns)]
    blocks = -(-canvas // columns)
    steps = -(-options.steps // blocks)
    return sorted({steps, max(1, steps // 2)})
