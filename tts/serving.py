"""The worker's side of the pipe: many requests on one voice, one chunk each in turn.

A request produces a chunk only when its reader has granted one (``credit``). So a reader that is
slow or gone costs nothing, no queue grows, and most of an interrupted reply was never made.
"""

from __future__ import annotations

import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from tts.engine import SpeechChunk, TtsError
from tts.pipes import PipeError, PipeMessage, read_message, write_message


class Voice(Protocol):
    """The voice of a worker."""

    @property
    def rate(self) -> int: ...

    def speak(self, text: str) -> Generator[SpeechChunk, None, None]: ...


@dataclass(slots=True)
class _Request:
    id: int
    chunks: Generator[SpeechChunk, None, None]
    credit: int


def leave_signals_to_the_parent() -> None:
    """Ignore what a terminal or a supervisor sends to a whole group of processes.

    The parent decides when its worker ends, by closing the pipe: after SIGTERM its calls go on.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)


def serve(voice: Voice, source: BinaryIO, sink: BinaryIO) -> None:
    """Report ``ready`` and serve until the parent closes ``source`` or disappears."""
    write_message(sink, PipeMessage("ready", fields={"rate": voice.rate}))
    inbox: queue.SimpleQueue[PipeMessage | None] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(source, inbox), daemon=True).start()
    server = Server(voice, sink)
    while True:
        try:
            message = inbox.get(block=not server.runnable)
        except queue.Empty:
            server.advance()
            continue
        if message is None:
            return
        server.accept(message)


def _receive(source: BinaryIO, inbox: queue.SimpleQueue[PipeMessage | None]) -> None:
    try:
        while (message := read_message(source)) is not None:
            inbox.put(message)
    except (PipeError, OSError):
        traceback.print_exc()
    finally:
        inbox.put(None)


class Server:
    """The requests in flight, in the order in which they are served."""

    def __init__(self, voice: Voice, sink: BinaryIO) -> None:
        self._voice = voice
        self._sink = sink
        self._requests: deque[_Request] = deque()

    @property
    def runnable(self) -> bool:
        return any(request.credit > 0 for request in self._requests)

    def accept(self, message: PipeMessage) -> None:
        """Take in one message of the parent; one about a finished request is late and ignored."""
        if message.kind == "speak":
            chunks = self._voice.speak(message["text"])
            self._requests.append(_Request(message.request, chunks, message["credit"]))
            return
        for request in self._requests:
            if request.id != message.request:
                continue
            if message.kind == "credit":
                request.credit += 1
            else:
                self._requests.remove(request)
                request.chunks.close()
            return

    def advance(self) -> None:
        """Make one chunk for the request whose turn it is."""
        while self._requests[0].credit == 0:
            self._requests.rotate(-1)
        request = self._requests[0]
        reply = self._next_message(request)
        write_message(self._sink, reply)
        if reply.kind == "chunk":
            request.credit -= 1
            self._requests.rotate(-1)
        else:
            self._requests.popleft()

    @staticmethod
    def _next_message(request: _Request) -> PipeMessage:
        try:
            chunk = next(request.chunks, None)
        except Exception as error:  # one bad request must not end the others
            traceback.print_exc()
            known = isinstance(error, TtsError)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            return PipeMessage("error", request.id, {"reason": reason})
        if chunk is None:
            return PipeMessage("end", request.id)
        words = [(word.text, word.start, word.end) for word in chunk.words]
        return PipeMessage("chunk", request.id, {"words": words}, chunk.samples.tobytes())
