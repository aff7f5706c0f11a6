"""A synthesiser that lives in a worker process of its own and is restarted when it dies."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from tts.engine import SpeechChunk, TtsError, WordSpan, check_text
from tts.pipes import Message, PipeError, read_message, write_message

_log = logging.getLogger(__name__)

_STDERR_LINES = 12
_EXIT_SECONDS = 2.0


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

    def _running_worker(self) -> _Worker:
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

    def _start(self) -> _Worker:
        return _Worker(self._command, self._environment, self._start_seconds)


class _Request:
    """One ``speak`` in flight."""

    def __init__(self, request_id: int) -> None:
        self.id = request_id
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.finished = False


class _Worker:
    """One process, the threads that read its pipes, and the requests it has in hand."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], start_seconds: float
    ) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.death: str | None = None
        """Why it cannot serve any more."""
        self._stopping = False
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._requests: dict[int, _Request] = {}
        self._ids = itertools.count(1)
        self._ready: Future[int] = Future()
        self._threads = [
            threading.Thread(target=self._read_stderr, daemon=True),
            threading.Thread(target=self._read_messages, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.rate = self._wait_until_ready(start_seconds)

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, text: str, credit: int) -> _Request:
        """Hand a text to the worker.

        Raises:
            TtsError: it is dead.
        """
        request = _Request(next(self._ids))
        with self._lock:
            if self.death is not None:
                raise TtsError(self.death)
            self._requests[request.id] = request
        self._send(Message("speak", request.id, {"text": text, "credit": credit}))
        return request

    def next_chunk(self, request: _Request, stall_seconds: float) -> SpeechChunk | None:
        """Wait for the next chunk; ``None`` at the end.

        Raises:
            TtsError: the request failed, the worker died or made no chunk in time.
        """
        try:
            message = request.inbox.get(timeout=stall_seconds)
        except queue.Empty:
            self._process.kill()
            raise TtsError(f"the worker made no sound for {stall_seconds:g} s; ended it") from None
        if message.kind == "chunk":
            self._send(Message("credit", request.id))
            return self._chunk(message)
        request.finished = True
        if message.kind == "end":
            return None
        raise TtsError(str(message["reason"]))

    def end(self, request: _Request) -> None:
        """Forget a request; one that is not finished is cancelled."""
        with self._lock:
            self._requests.pop(request.id, None)
        if not request.finished:
            self._send(Message("cancel", request.id))

    def stop(self) -> None:
        """End the process, by closing its pipe first; no zombie and no thread remains."""
        self._stopping = True
        with self._writing:
            _close_quietly(self._stdin)
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for thread in self._threads:
            thread.join()

    @property
    def _stdin(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdin)

    def _send(self, message: Message) -> None:
        """Write to the worker; if it is dead, the thread that reads from it tells the requests."""
        with self._writing:
            if self._stdin.closed:
                return
            try:
                write_message(self._stdin, message)
            except OSError:
                _close_quietly(self._stdin)

    def _wait_until_ready(self, seconds: float) -> int:
        try:
            return self._ready.result(seconds)
        except FutureTimeout:
            self._process.kill()
            self.stop()
            raise TtsError(f"the speech worker was not ready after {seconds:g} s") from None
        except TtsError:
            self.stop()
            raise

    def _read_messages(self) -> None:
        reason = ""
        with cast(BinaryIO, self._process.stdout) as stream:
            try:
                while (message := read_message(stream)) is not None:
                    self._dispatch(message)
            except (PipeError, OSError) as error:
                reason = f"{error}; "
                self._process.kill()
        code = self._process.wait()
        self._threads[0].join()
        if self._stopping:
            self._die("the synthesiser was closed while it spoke")
        else:
            reason = f"{reason}{self._last_words()}"
            self._die(f"the speech worker ended with exit code {code}: {reason}")

    def _dispatch(self, message: Message) -> None:
        if message.kind == "ready":
            self._ready.set_result(int(message["rate"]))
        elif message.kind == "fatal":
            self._ready.set_exception(TtsError(str(message["reason"])))
        else:
            with self._lock:
                request = self._requests.get(message.request)
            if request is not None:
                request.inbox.put(message)

    def _die(self, reason: str) -> None:
        with self._lock:
            self.death = reason
            requests = list(self._requests.values())
        for request in requests:
            request.inbox.put(Message("error", request.id, {"reason": reason}))
        if not self._ready.done():
            self._ready.set_exception(TtsError(reason))

    def _read_stderr(self) -> None:
        with cast(BinaryIO, self._process.stderr) as stream:
            for line in stream:
                self._stderr.append(line.decode(errors="replace").rstrip()[:500])

    def _last_words(self) -> str:
        return "\n".join(self._stderr) or "it printed nothing"

    def _chunk(self, message: Message) -> SpeechChunk:
        samples = np.frombuffer(message.payload, np.float32)
        words = tuple(WordSpan(text, start, end) for text, start, end in message["words"])
        return SpeechChunk(samples, self.rate, words)


def _import_path() -> str:
    """The worker must find this very package, wherever the parent found it."""
    inherited = os.environ.get("PYTHONPATH")
    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join([here, inherited]) if inherited else here


def _close_quietly(stream: BinaryIO) -> None:
    try:
        stream.close()
    except OSError:
        pass  # closing flushes, and the other side may be gone
