"""The parent's side of a worker process: its life, its pipes and its running requests."""

from __future__ import annotations

import contextlib
import itertools
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import BinaryIO, cast

import numpy as np

from tts.engine import SpeechChunk, TtsError, WordSpan
from tts.pipes import PipeError, PipeMessage, read_message, write_message

_STDERR_LINES = 12
_EXIT_SECONDS = 2.0


class Request:
    """One ``speak`` in flight."""

    def __init__(self, request_id: int) -> None:
        self.id = request_id
        self.inbox: queue.SimpleQueue[PipeMessage] = queue.SimpleQueue()
        self.finished = False


class WorkerProcess:
    """One process, the threads that read its pipes, and its running requests."""

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
        """Reason of the process's end; None while it runs."""
        self._stopping = False
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._requests: dict[int, Request] = {}
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

    def begin(self, text: str, credit: int) -> Request:
        """Hand a text to the worker.

        Raises:
            TtsError: it is dead.
        """
        request = Request(next(self._ids))
        with self._lock:
            if self.death is not None:
                raise TtsError(self.death)
            self._requests[request.id] = request
        self._send(PipeMessage("speak", request.id, {"text": text, "credit": credit}))
        return request

    def next_chunk(self, request: Request, stall_seconds: float) -> SpeechChunk | None:
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
            self._send(PipeMessage("credit", request.id))
            return self._chunk(message)
        request.finished = True
        if message.kind == "end":
            return None
        raise TtsError(str(message["reason"]))

    def end(self, request: Request) -> None:
        """Forget a request; one that is not finished is cancelled."""
        with self._lock:
            self._requests.pop(request.id, None)
        if not request.finished:
            self._send(PipeMessage("cancel", request.id))

    def stop(self) -> None:
        """End the process, by closing its pipe first; no zombie and no thread remains."""
        self._stopping = True
        with self._writing:
            self._close_stdin()
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for thread in self._threads:
            thread.join()

    @property
    def _stdin(self) -> BinaryIO:
        return cast(BinaryIO, self._process.stdin)

    def _send(self, message: PipeMessage) -> None:
        """Write to the worker; if it is dead, the thread that reads from it tells the requests."""
        with self._writing:
            if self._stdin.closed:
                return
            try:
                write_message(self._stdin, message)
            except OSError:
                self._close_stdin()

    def _close_stdin(self) -> None:
        # Closing flushes, and the other side may be gone.
        with contextlib.suppress(OSError):
            self._stdin.close()

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

    def _dispatch(self, message: PipeMessage) -> None:
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
            request.inbox.put(PipeMessage("error", request.id, {"reason": reason}))
        if not self._ready.done():
            self._ready.set_exception(TtsError(reason))

    def _read_stderr(self) -> None:
        with cast(BinaryIO, self._process.stderr) as stream:
            for line in stream:
                self._stderr.append(line.decode(errors="replace").rstrip()[:500])

    def _last_words(self) -> str:
        return "\n".join(self._stderr) or "it printed nothing"

    def _chunk(self, message: PipeMessage) -> SpeechChunk:
        samples = np.frombuffer(message.payload, np.float32)
        words = tuple(WordSpan(text, start, end) for text, start, end in message["words"])
        return SpeechChunk(samples, self.rate, words)
