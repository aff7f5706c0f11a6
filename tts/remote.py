"""A synthesiser that lives in a worker process of its own and is restarted when it dies."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from tts.engine import SpeechChunk, TtsError, check_text
from tts.process import WorkerProcess

_log = logging.getLogger(__name__)


class RemoteSynthesizer:
    """Speaks through ``python -m module arguments``, which must call ``tts.serving.serve``.

    Several ``speak`` run at once: the worker serves them in turn, chunk by chunk.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
        chunks_ahead: int = 6,
        max_requests: int = 64,
        max_restarts: int = 3,
        start_seconds: float = 60.0,
        stall_seconds: float = 20.0,
    ) -> None:
        """Start the worker and wait until it is ready.

        Args:
            chunks_ahead: chunks that the worker makes before they are asked for.
            max_requests: calls of ``speak`` that may run at once.
            max_restarts: how often a dead worker is replaced before a call succeeds again.
            start_seconds: bound on loading the voice.
            stall_seconds: bound on the wait for one chunk.

        Raises:
            TtsError: the worker cannot load its voice or does not report in time.
        """
        # -P keeps the current directory, which may hold anything, off the worker's import path.
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._environment["PYTHONPATH"] = _import_path()
        self._chunks_ahead = chunks_ahead
        self._slots = threading.BoundedSemaphore(max_requests)
        self._max_restarts = max_restarts
        self._start_seconds = start_seconds
        self._stall_seconds = stall_seconds
        self._lock = threading.Lock()
        self._restarts = 0
        self._closed = False
        self._worker = self._start()

    @property
    def rate(self) -> int:
        return self._worker.rate

    @property
    def pid(self) -> int:
        """Process id of the present worker."""
        return self._worker.pid

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]:
        check_text(text)
        return self._chunks(text)

    def warm_up(self) -> None:
        """The worker warms itself up before it reports ready; this proves the way through."""
        for _ in self.speak("Ready."):
            pass

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._worker.stop()

    def _chunks(self, text: str) -> Generator[SpeechChunk, None, None]:
        if not self._slots.acquire(blocking=False):
            raise TtsError("too many replies are spoken at once; raise max_requests or wait")
        try:
            worker = self._running_worker()
            request = worker.begin(text, self._chunks_ahead)
            try:
                while (chunk := worker.next_chunk(request, self._stall_seconds)) is not None:
                    yield chunk
                self._restarts = 0
            finally:
                worker.end(request)
        finally:
            self._slots.release()

    def _running_worker(self) -> WorkerProcess:
        with self._lock:
            if self._closed:
                raise TtsError("the synthesiser is closed; make a new one")
            if self._worker.death is not None:
                self._restart(self._worker.death)
            return self._worker

    def _restart(self, reason: str) -> None:
        if self._restarts >= self._max_restarts:
            raise TtsError(f"the worker died {self._restarts + 1} times in a row, last: {reason}")
        self._restarts += 1
        _log.warning("%s; starting it again", reason)
        self._worker.stop()
        self._worker = self._start()

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self._command, self._environment, self._start_seconds)


def _import_path() -> str:
    """The worker must find this very package, whatever else lies on its parent's path."""
    own = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join([own, *(entry for entry in sys.path if entry)])
