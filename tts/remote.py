"""A synthesiser in a worker process of its own, which is started again whenever it dies."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from tts.engine import SpeechChunk, TtsError, check_text
from tts.process import WorkerProcess

_log = logging.getLogger("onebreath.voice")

FIRST_PAUSE = 0.5
"""Seconds before the second start in a row; each further pause is twice as long."""
LONGEST_PAUSE = 30.0
"""Seconds between two starts, at most."""


class RemoteSynthesizer:
    """Speaks through ``python -m module arguments``, which must call ``tts.serving.serve``.

    Several ``speak`` run at once: the worker serves them in turn, chunk by chunk. A worker that
    dies is replaced by a thread of its own, at once the first time and then after growing pauses,
    without an end. Meanwhile ``ready`` is false.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        chunks_ahead: int = 6,
        max_requests: int = 64,
        start_seconds: float = 60.0,
        stall_seconds: float = 8.0,
        revival_seconds: float = 3.0,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """Start the worker and wait until it is ready.

        Args:
            chunks_ahead: chunks that the worker makes before they are asked for.
            max_requests: calls of ``speak`` that may run at once.
            start_seconds: bound on loading the voice.
            stall_seconds: bound on the wait for one chunk.
            revival_seconds: how long a ``speak`` waits for a worker that is being started again.
            first_pause: seconds before the second start in a row.

        Raises:
            TtsError: the worker cannot load its voice or does not report in time.
        """
        # -P keeps the current directory, which may hold anything, off the worker's import path.
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._environment["PYTHONPATH"] = _import_path()
        self._chunks_ahead = chunks_ahead
        self._slots = threading.BoundedSemaphore(max_requests)
        self._start_seconds = start_seconds
        self._stall_seconds = stall_seconds
        self._revival_seconds = revival_seconds
        self._first_pause = first_pause
        self._changed = threading.Condition()
        self._closed = False
        self._deaths = 0
        """Deaths since the last text that was spoken to its end."""
        self.restarts = 0
        self._worker = self._start()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True, name="voice")
        self._supervisor.start()

    @property
    def rate(self) -> int:
        return self._worker.rate

    @property
    def pid(self) -> int:
        """Process id of the present worker."""
        return self._worker.pid

    @property
    def ready(self) -> bool:
        """Whether a worker is there to speak."""
        return self._worker.death is None

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        check_text(text)
        return self._chunks(text)

    def warm_up(self) -> None:
        """The worker warms itself up before it reports ready; this proves the way through."""
        for _ in self.speak("Ready."):
            pass

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.stop()  # its death wakes the supervisor
        self._supervisor.join()

    def _chunks(self, text: str) -> Generator[SpeechChunk, None, None]:
        if not self._slots.acquire(blocking=False):
            raise TtsError("too many replies are spoken at once; raise max_requests or wait")
        try:
            worker = self._running_worker()
            request = worker.begin(text, self._chunks_ahead)
            try:
                while (chunk := worker.next_chunk(request, self._stall_seconds)) is not None:
                    yield chunk
                self._deaths = 0
            finally:
                worker.end(request)
        finally:
            self._slots.release()

    def _running_worker(self) -> WorkerProcess:
        with self._changed:
            self._changed.wait_for(lambda: self.ready or self._closed, self._revival_seconds)
            if self._closed:
                raise TtsError("the synthesiser is closed; make a new one")
            if self._worker.death is not None:
                raise TtsError(f"{self._worker.death}; it is being started again")
            return self._worker

    def _supervise(self) -> None:
        """Replace the worker whenever it dies, until the synthesiser is closed."""
        while self._wait_for_death():
            _log.error("%s; starting it again", self._worker.death)
            self._worker.stop()
            if not self._pause():
                return
            try:
                worker = self._start()
            except (TtsError, OSError) as error:  # no memory for a process, say: it may pass
                _log.error("the voice cannot be started: %s", error)
                continue  # the old one is still dead
            with self._changed:
                if self._closed:
                    worker.stop()
                    return
                self.restarts += 1
                self._worker = worker
                self._changed.notify_all()
            _log.warning("the voice is back (process %d)", worker.pid)

    def _wait_for_death(self) -> bool:
        """Wait until the worker is dead; False once the synthesiser is closed."""
        self._worker.dead.wait()
        return not self._closed

    def _pause(self) -> bool:
        """Wait before the next start; False if the synthesiser is closed meanwhile."""
        pause = 0.0 if self._deaths == 0 else self._first_pause * 2 ** min(self._deaths - 1, 10)
        self._deaths += 1
        ends = time.monotonic() + min(pause, LONGEST_PAUSE)
        with self._changed:
            while not self._closed and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._closed

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self._command, self._environment, self._start_seconds)


def _import_path() -> str:
    """The worker must find this very package, whatever else lies on its parent's path."""
    own = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join([own, *(entry for entry in sys.path if entry)])
