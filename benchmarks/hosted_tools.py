"""What the path of ``hosted`` itself takes for a call: a service that answers at once.

    python benchmarks/hosted_tools.py --json

A server of this machine knows the right call of every request of `onebreath bench tools` and sends
it at once, its arguments in pieces of eight characters. What is left is the time of the path:
request, stream, parsing, check by the schema.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agent.bench.tools import REQUESTS, ToolRequest, read_requests, run_tools, summarise
from agent.responders.hosted import HostedResponder
from agent.responders.service import Service

PIECE = 8
"""Characters of arguments in one event."""


class Handler(BaseHTTPRequestHandler):
    """Answers a request with its right call, or with words."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else small events wait 40 ms for an acknowledgement
    requests: Mapping[str, ToolRequest]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = b'{"object": "list", "data": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in self._events(self.requests[body["messages"][-1]["content"]]):
            self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    @staticmethod
    def _events(request: ToolRequest) -> Iterator[dict[str, Any]]:
        if request.call is None:
            yield _chunk({"content": "Fine, thank you."})
        else:
            function: dict[str, Any] = {"name": request.call, "arguments": ""}
            yield _chunk({"tool_calls": [{"index": 0, "id": "call_1", "function": function}]})
            text = json.dumps(dict(request.arguments))
            for at in range(0, len(text), PIECE):
                piece = {"index": 0, "function": {"arguments": text[at : at + PIECE]}}
                yield _chunk({"tool_calls": [piece]})
        yield _chunk({}, "tool_calls" if request.call else "stop")


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    about = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return {**about, "choices": [choice]}


@contextmanager
def service(requests: list[ToolRequest]) -> Iterator[str]:
    """The address of the service."""
    known = {request.words: request for request in requests}
    handler = type("Known", (Handler,), {"requests": known})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=Path, default=REQUESTS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    tools, requests = read_requests(given.requests)
    with service(requests) as url:
        responder = HostedResponder(Service(url, "m"))
        answered = run_tools(responder, tools, requests, lambda line: None)
    row = {**summarise(answered), "what": "hosted tools"}
    print(json.dumps(row) if given.json else row)


if __name__ == "__main__":
    main()
