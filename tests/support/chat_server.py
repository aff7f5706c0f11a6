"""A chat API by script, on a real socket of this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What the server does with one request."""

    pieces: Sequence[str] = ()
    calls: Sequence[Sequence[dict[str, Any]]] = ()
    """The ``tool_calls`` of each further piece."""
    status: int = 200
    message: str = ""
    hangs: bool = False
    """Nothing more is sent after the pieces until the server closes."""
    breaks: bool = False
    """The connection is cut after the pieces."""
    finish: str = "stop"
    thoughts: Sequence[str] = ()
    """The ``reasoning_content`` of pieces before the first word."""


@dataclass
class ChatServer:
    """The script, and what was asked."""

    url: str
    script: list[Answer]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)
    """A client went away while an answer was hanging."""


def _event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "m",
        "choices": [choice],
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: ChatServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._whole(200, {"object": "list", "data": []})

    def do_POST(self) -> None:
        state = self.state
        state.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        state.keys.append(self.headers.get("Authorization"))
        answer = state.script.pop(0)
        if answer.status != 200:
            self._whole(answer.status, {"error": {"message": answer.message}})
        else:
            self._stream(answer)

    def _whole(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After-Ms", "1")
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self._send(_event({"role": "assistant", "content": ""}))
        for thought in answer.thoughts:
            self._send(_event({"reasoning_content": thought}))
        for piece in answer.pieces:
            self._send(_event({"content": piece}))
        for calls in answer.calls:
            self._send(_event({"tool_calls": list(calls)}))
        if answer.hangs:
            self._hang()
        if not (answer.hangs or answer.breaks):
            self._send(_event({}, answer.finish))
            usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
            self._send({**_event({}), "choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")

    def _hang(self) -> None:
        self.connection.settimeout(5)
        if self.connection.recv(1) == b"":
            self.state.hung_up.set()

    def _send(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()


@contextmanager
def chat_server(*script: Answer) -> Iterator[ChatServer]:
    """A server that answers one request after the other as the script says."""
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        state = ChatServer(f"http://127.0.0.1:{server.server_port}/v1", list(script))
        handler.state = state  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
